from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paucis.losses.info_nce import info_nce, instance_discrimination, nt_xent


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def term(query: Tensor, positive: Tensor, negatives: list[Tensor], temperature: float) -> float:
    def cos(other: Tensor) -> float:
        return float(torch.cosine_similarity(query, other, dim=0)) / temperature

    right = math.exp(cos(positive))
    return -math.log(right / (right + sum(math.exp(cos(other)) for other in negatives)))


def test_two_views_equal_the_loop_over_rows_with_and_without_others() -> None:
    first, second, others = vectors(4, 3), vectors(4, 3, seed=1), vectors(2, 3, seed=2)
    every = [*first, *second]
    for more in ([], list(others)):
        terms = []
        for row, query in enumerate(every):
            partner = (row + 4) % 8
            rest = [every[k] for k in range(8) if k not in (row, partner)] + more
            terms.append(term(query, every[partner], rest, 0.3))
        loss = nt_xent(first, second, 0.3, others if more else None)
        assert float(loss) == pytest.approx(sum(terms) / 8, rel=1e-5)


def test_by_hand_for_views_that_agree_on_orthogonal_images() -> None:
    expected = -math.log(math.e / (math.e + 6))
    assert float(nt_xent(torch.eye(4), torch.eye(4), 1.0)) == pytest.approx(expected, rel=1e-6)


def test_a_memory_equals_the_loop_over_its_known_places_and_passes_no_gradient_to_keys() -> None:
    queries, keys, bank = vectors(3, 4).requires_grad_(True), vectors(3, 4, seed=1).requires_grad_(True), vectors(5, 4)
    known = torch.tensor([True, False, True, True, False])
    loss = info_nce(queries, keys, bank, known, 0.2)
    terms = [
        term(query, key, list(bank[known]), 0.2) for query, key in zip(queries.detach(), keys.detach(), strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(sum(terms) / 3, rel=1e-5)
    loss.backward()
    assert keys.grad is None
    assert queries.grad.abs().sum() > 0


def test_without_negatives_and_in_half_precision() -> None:
    queries = vectors(3, 4).requires_grad_(True)
    loss = info_nce(queries, vectors(3, 4, seed=1), torch.zeros(5, 4), torch.zeros(5, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(queries.grad, torch.zeros(3, 4))
    with torch.autocast("cpu", torch.bfloat16):
        half = nt_xent(vectors(3, 4).bfloat16(), vectors(3, 4, seed=1).bfloat16())
    assert half.dtype == torch.float32
    assert torch.equal(half, nt_xent(vectors(3, 4).bfloat16().float(), vectors(3, 4, seed=1).bfloat16().float()))


def test_gradients_are_those_of_finite_differences() -> None:
    first, second = (vectors(3, 4, seed=seed).double().requires_grad_(True) for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (first, second))
    assert torch.autograd.gradcheck(lambda a: info_nce(a, second, vectors(4, 4).double(), None, 0.5), (first,))


def test_each_image_is_told_from_all_that_have_a_vector_as_in_the_loop() -> None:
    seen, bank = vectors(3, 4).requires_grad_(True), vectors(6, 4, seed=1).requires_grad_(True)
    numbers = torch.tensor([4, 0, 4])
    loss = instance_discrimination(seen, bank, numbers, 0.3)
    terms = [
        term(row, bank.detach()[number], [bank.detach()[k] for k in range(6) if k != number], 0.3)
        for row, number in zip(seen.detach(), numbers.tolist(), strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(sum(terms) / 3, rel=1e-5)
    loss.backward()
    assert bank.grad is None
    assert seen.grad.abs().sum() > 0
    eye = torch.eye(6)
    assert float(instance_discrimination(eye[:2], eye, torch.arange(2), 1.0)) == pytest.approx(
        -math.log(math.e / (math.e + 5)), rel=1e-6
    )
    assert instance_discrimination(eye.bfloat16(), eye, torch.arange(6)).dtype == torch.float32
