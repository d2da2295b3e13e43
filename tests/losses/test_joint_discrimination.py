from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from paucis.losses.hypersphere_mixup import hypersphere_mixup, hypersphere_target
from paucis.losses.joint_discrimination import joint_discrimination, paired_discrimination

MODULE = sys.modules["paucis.losses.joint_discrimination"]  # the package's attribute of this name is the function


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loop(queries: Tensor, keys: Tensor, temperature: float, exclude: Tensor | None = None) -> float:
    """Term by term, in double precision, each 1 - q as the sum of the other keys' probabilities."""
    terms = []
    for i, query in enumerate(queries.double()):
        used = [j for j in range(len(keys)) if j == i or exclude is None or not exclude[i, j]]
        similar = {j: float(torch.cosine_similarity(query, keys[j].double(), dim=0)) / temperature for j in used}
        top = max(similar.values())
        weight = {j: math.exp(s - top) for j, s in similar.items()}
        total = sum(weight.values())
        loss = -math.log(weight[i] / total)
        for j in used:
            if j != i:
                loss -= math.log(sum(w for k, w in weight.items() if k != j) / total)
        terms.append(loss)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_it_equals_the_loop_over_rows_and_keys(temperature: float) -> None:
    queries, keys = vectors(7, 5), 3 * vectors(7, 5, seed=1)
    assert float(joint_discrimination(queries, keys, temperature)) == pytest.approx(
        loop(queries, keys, temperature), rel=1e-5
    )


def test_excluded_pairs_and_keys_beyond_the_rows() -> None:
    queries, keys = vectors(6, 4), vectors(9, 4, seed=1)
    exclude = torch.rand(6, 9, generator=torch.Generator().manual_seed(2)) < 0.4
    expected = loop(queries, keys, 0.2, exclude)
    assert float(joint_discrimination(queries, keys, 0.2, exclude)) == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(loop(queries, keys, 0.2), rel=1e-2)
    rows = torch.tensor([True, False, True, True, False, True])
    kept = rows.nonzero().flatten()
    order = torch.cat([kept, torch.tensor([i for i in range(9) if i not in kept])])
    counted = joint_discrimination(queries, keys, 0.2, rows=rows)
    assert float(counted) == pytest.approx(loop(queries[kept], keys[order], 0.2), rel=1e-5)


@pytest.mark.parametrize(("count", "published"), [(512, 0.0897), (2, 1.8e-4)])
def test_the_published_values_of_orthogonal_vectors_that_each_appear_twice(count: int, published: float) -> None:
    once, e = torch.eye(count), math.exp(10.0)
    q = 1 / (e + 2 * count - 2)
    exact = -math.log(e * q) - (2 * count - 2) * math.log1p(-q)
    loss = float(paired_discrimination(once, once, 0.1))
    assert loss == pytest.approx(exact, rel=2e-5)
    assert loss == pytest.approx(published, rel=0.02)
    twice = torch.cat([once, once])
    exclude = torch.eye(2 * count, dtype=torch.bool).roll(count, 1)
    assert float(joint_discrimination(twice, twice, 0.1, exclude)) == loss


def test_partners_that_are_told_apart_for_sure_cost_next_to_nothing() -> None:
    """q rounds to 1 where two pairs lie opposite each other; the published form is not a number there."""
    one = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss = paired_discrimination(one, one.detach(), 0.1)
    loss.backward()
    rest = 2 * math.exp(-20.0)
    exact = math.log1p(rest) - 2 * math.log1p(-math.exp(-20.0) / (1 + rest))
    assert float(loss.detach()) == pytest.approx(exact, rel=1e-5)
    assert torch.isfinite(one.grad).all()


def test_a_wrong_key_that_takes_all_of_the_probability_costs_what_it_should() -> None:
    queries = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    keys = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    loss = joint_discrimination(queries, keys, 0.1)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2 * (20 + math.log1p(math.exp(-20.0))), rel=1e-6)
    cold = joint_discrimination(queries, keys, 0.005)  # e^-400 is no float32
    assert float(cold.detach()) == pytest.approx(800.0, rel=1e-6)
    assert torch.isfinite(queries.grad).all()


@pytest.mark.parametrize("rows", [1, 2, 4, 16, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_right_wrong_and_equal_keys_are_finite_at_any_number_of_rows(rows: int, dtype: torch.dtype) -> None:
    own = vectors(rows, 8).to(dtype)
    hard = [own, -own, own.roll(1, 0), torch.ones_like(own), torch.zeros_like(own)]
    for keys in hard[: 2 if rows > 16 else None]:
        queries = own.clone().requires_grad_(True)
        loss = joint_discrimination(queries, keys)
        loss.backward()
        assert loss.dtype == torch.float32
        assert bool(torch.isfinite(loss))
        assert float(loss.detach()) >= 0
        assert torch.isfinite(queries.grad).all()
        if rows <= 16:
            assert float(loss.detach()) == pytest.approx(loop(own.float(), keys.float(), 0.1), rel=1e-4, abs=1e-7) or (
                not keys.any()  # a cosine with nothing is 0 here and not a number in the loop's division
            )


def test_half_precision_is_computed_in_full_under_autocast() -> None:
    queries, keys = vectors(8, 6), vectors(8, 6, seed=1)
    plain = joint_discrimination(queries, keys)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(joint_discrimination(queries, keys), plain)


def test_gradients_are_those_of_finite_differences() -> None:
    queries, keys = vectors(5, 4).double().requires_grad_(True), vectors(7, 4, seed=1).double().requires_grad_(True)
    exclude = torch.zeros(5, 7, dtype=torch.bool)
    exclude[0, 3] = exclude[4, 6] = True
    rows = torch.tensor([True, True, False, True, True])
    assert torch.autograd.gradcheck(lambda q, k: joint_discrimination(q, k, 0.3, exclude, rows=rows), (queries, keys))
    near = (queries.detach() + 1e-3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda q: joint_discrimination(q, queries.detach(), 0.05), (near,))


def test_chunks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[Any] = []
    exclude = torch.rand(50, 60, generator=torch.Generator().manual_seed(2)) < 0.1
    for limit in (2**22, 60 * 7):
        monkeypatch.setattr(MODULE, "_AT_ONCE", limit)
        queries, keys = vectors(50, 6).requires_grad_(True), vectors(60, 6, seed=1).requires_grad_(True)
        loss = joint_discrimination(queries, keys, 0.1, exclude)
        loss.backward()
        results.append((loss.detach(), queries.grad, keys.grad))
    for whole, chunked in zip(*results, strict=True):
        assert torch.allclose(whole, chunked, rtol=1e-5, atol=1e-7)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_AT_ONCE", 2**14)
    kept = []
    for count in (256, 1024):
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = joint_discrimination(vectors(count, 8).requires_grad_(True), vectors(count, 8, seed=1))
        kept.append(sum(sizes.values()))
        loss.backward()
    assert kept[1] < 6 * kept[0], "four times the rows keep sixteen times the bytes"


def test_the_paired_form_counts_both_views_alike_and_passes_no_gradient_to_keys() -> None:
    first, second = vectors(5, 4).requires_grad_(True), vectors(5, 4, seed=1).requires_grad_(True)
    loss = paired_discrimination(first, second, 0.2)
    assert torch.allclose(loss, paired_discrimination(second, first, 0.2))
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(loss, paired_discrimination(first[order], second[order], 0.2))
    (only,) = torch.autograd.grad(loss, first)
    keys = torch.cat([second, first]).detach()
    exclude = torch.eye(10, dtype=torch.bool).roll(5, 1)
    queries = torch.cat([first.detach(), second.detach()]).requires_grad_(True)
    (expected,) = torch.autograd.grad(joint_discrimination(queries, keys, 0.2, exclude), queries)
    assert torch.allclose(only, expected[:5])


def test_what_is_not_counted_is_neither_row_nor_key_and_others_are_keys_alone() -> None:
    first, second = vectors(6, 4), vectors(6, 4, seed=1)
    counted = torch.tensor([True, False, True, True, False, True])
    less = paired_discrimination(first[counted], second[counted], 0.2)
    assert torch.allclose(paired_discrimination(first, second, 0.2, counted=counted), less)
    others = vectors(3, 4, seed=2)
    twice, keys = torch.cat([first, second]), torch.cat([second, first, others])
    exclude = torch.cat([torch.eye(12, dtype=torch.bool).roll(6, 1), torch.zeros(12, 3, dtype=torch.bool)], 1)
    assert float(paired_discrimination(first, second, 0.2, others=others)) == pytest.approx(
        loop(twice, keys, 0.2, exclude), rel=1e-5
    )
    nothing = first.clone().requires_grad_(True)
    empty = paired_discrimination(nothing, second, counted=torch.zeros(6, dtype=torch.bool))
    empty.backward()
    assert float(empty.detach()) == 0.0
    assert torch.equal(nothing.grad, torch.zeros(6, 4))


def test_the_target_of_a_mixture_lies_on_the_sphere_between_both_and_is_a_constant() -> None:
    one, two = torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 1.0]])
    target = hypersphere_target(one, two, torch.tensor([[0.75]]))
    assert torch.allclose(target, torch.tensor([[0.75, 0.25]]) / math.hypot(0.75, 0.25))
    assert not target.requires_grad
    assert torch.allclose(hypersphere_target(one, one, torch.tensor([[0.3]])), one.detach())
    assert torch.allclose(hypersphere_target(one, two, torch.tensor([[1.0]])), one.detach())


def test_mixup_is_the_paired_form_in_which_only_the_mixed_rows_move() -> None:
    mixed, target = vectors(4, 3).requires_grad_(True), vectors(4, 3, seed=1).requires_grad_(True)
    loss = hypersphere_mixup(mixed, target, 0.1)
    assert torch.equal(loss, paired_discrimination(mixed, target, 0.1))
    loss.backward()
    assert target.grad is None
    assert mixed.grad.abs().sum() > 0


def test_no_rows_give_zero() -> None:
    empty = torch.zeros(0, 4, requires_grad=True)
    joint_discrimination(empty, torch.zeros(0, 4)).backward()
    assert float(joint_discrimination(empty, torch.zeros(3, 4)).detach()) == 0.0
