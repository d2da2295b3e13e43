from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.losses import pixel_contrastive

MODULE = sys.modules["paucis.losses.pixel_contrastive"]


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


def naive(anchors: Tensor, kinds: Tensor, bank: Tensor, bank_kinds: Tensor, temperature: float) -> Tensor:
    """Eq. 8 and 9, pair by pair, in double precision."""
    losses = []
    for anchor, kind in zip(anchors.double(), kinds, strict=True):
        similar = [F.cosine_similarity(anchor, sample, dim=0) / temperature for sample in bank.double()]
        negatives = [torch.exp(s) for s, k in zip(similar, bank_kinds, strict=True) if k != kind]
        terms = [
            -torch.log(torch.exp(s) / (torch.exp(s) + sum(negatives)))
            for s, k in zip(similar, bank_kinds, strict=True)
            if k == kind
        ]
        if terms:
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("m", "q", "d", "classes"), [(1, 2, 3, 2), (7, 11, 5, 3), (20, 40, 16, 6)])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_it_and_its_gradients_equal_the_loop_over_pairs(
    m: int, q: int, d: int, classes: int, temperature: float
) -> None:
    a, b = vectors(m, d).requires_grad_(), vectors(q, d, seed=1).requires_grad_()
    kinds, bank_kinds = labels(m, classes), labels(q, classes, seed=1)
    bank_kinds[0] = kinds[0]  # one positive at least
    loss, expected = (
        pixel_contrastive(a, kinds, b, bank_kinds, temperature),
        naive(a, kinds, b, bank_kinds, temperature),
    )
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-7)
    for got, wanted in zip(torch.autograd.grad(loss, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        assert torch.allclose(got, wanted.float(), rtol=1e-3, atol=1e-6)


def test_by_hand_one_positive_and_orthogonal_negatives() -> None:
    anchor, bank = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[5.0, 0, 0], [0, 1.0, 0], [0, 0, 0.1]])
    loss = pixel_contrastive(anchor, torch.tensor([1]), bank, torch.tensor([1, 0, 2]), 1.0)
    assert float(loss) == pytest.approx(math.log(1 + 2 / math.e))


def test_by_hand_positives_do_not_push_each_other() -> None:
    anchor, bank = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0], [0, 1.0], [-1.0, 0]])
    loss = pixel_contrastive(anchor, torch.tensor([1]), bank, torch.tensor([1, 1, 0]), 1.0)
    expected = (math.log(1 + math.exp(-1 - 1)) + math.log(1 + math.exp(-1 - 0))) / 2
    assert float(loss) == pytest.approx(expected)


def test_without_negatives_the_loss_and_its_gradient_are_zero() -> None:
    anchor = vectors(2, 3).requires_grad_()
    loss = pixel_contrastive(anchor, torch.tensor([1, 1]), vectors(4, 3, seed=1), torch.ones(4).long())
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(anchor.grad, torch.zeros(2, 3))


def test_anchors_without_a_positive_do_not_count() -> None:
    a, b, bank_kinds = vectors(3, 4), vectors(6, 4, seed=1), torch.tensor([0, 0, 1, 1, 0, 1])
    with_stranger = pixel_contrastive(a, torch.tensor([0, 1, 7]), b, bank_kinds)
    assert torch.allclose(with_stranger, pixel_contrastive(a[:2], torch.tensor([0, 1]), b, bank_kinds))


@pytest.mark.parametrize(("m", "q"), [(0, 5), (5, 0), (0, 0), (4, 4)])
def test_nothing_to_compare_is_zero_with_a_gradient(m: int, q: int) -> None:
    anchors = vectors(m, 3).requires_grad_()
    loss = pixel_contrastive(anchors, torch.zeros(m).long(), vectors(q, 3), torch.ones(q).long())
    assert loss.requires_grad
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(anchors.grad, torch.zeros(m, 3))


def test_length_does_not_matter_but_order_of_labels_does() -> None:
    a, b, kinds, bank_kinds = vectors(5, 4), vectors(9, 4, seed=1), labels(5), labels(9, seed=1)
    loss = pixel_contrastive(a, kinds, b, bank_kinds)
    assert torch.allclose(loss, pixel_contrastive(3.0 * a, kinds, 0.01 * b, bank_kinds), rtol=1e-4)
    order = torch.randperm(9)
    assert torch.allclose(loss, pixel_contrastive(a, kinds, b[order], bank_kinds[order]), rtol=1e-4)
    assert not torch.allclose(loss, pixel_contrastive(a, kinds, b, bank_kinds.roll(1)), rtol=1e-2)


def test_ignored_rows_are_neither_anchor_nor_positive_nor_negative() -> None:
    a, b, kinds, bank_kinds = vectors(5, 4), vectors(9, 4, seed=1), labels(5), labels(9, seed=1)
    expected = pixel_contrastive(a[1:], kinds[1:], b[2:], bank_kinds[2:])
    kinds[0] = IGNORE
    bank_kinds[:2] = IGNORE
    assert torch.allclose(pixel_contrastive(a, kinds, b, bank_kinds), expected)


def test_chunks_change_neither_loss_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for at_once in (2**22, 20, 1):
        monkeypatch.setattr(MODULE, "_AT_ONCE", at_once)
        a, b = vectors(13, 4).requires_grad_(), vectors(9, 4, seed=1).requires_grad_()
        loss = pixel_contrastive(a, labels(13), b, labels(9, seed=1))
        loss.backward()
        results.append((loss.detach(), a.grad, b.grad))
    for one in results[1:]:
        assert all(torch.allclose(x, y, rtol=1e-4, atol=1e-6) for x, y in zip(one, results[0], strict=True))


def test_chunks_bound_what_is_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {}
    for at_once in (2**22, 64):
        monkeypatch.setattr(MODULE, "_AT_ONCE", at_once)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            pixel_contrastive(vectors(64, 4).requires_grad_(), labels(64), vectors(64, 4, seed=1), labels(64, seed=1))
        kept[at_once] = max(sizes)
    assert kept[2**22] == 64 * 64
    assert kept[64] <= 64 * 4


def test_half_precision_is_computed_in_full() -> None:
    a, b, kinds, bank_kinds = vectors(5, 8), vectors(9, 8, seed=1), labels(5), labels(9, seed=1)
    expected = pixel_contrastive(a.bfloat16().float(), kinds, b, bank_kinds)
    with torch.autocast("cpu", torch.bfloat16):
        loss = pixel_contrastive(a.bfloat16(), kinds, b, bank_kinds)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


def test_far_positives_and_zero_vectors_stay_finite() -> None:
    anchors = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    bank = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    loss = pixel_contrastive(anchors, torch.tensor([0, 0]), bank, torch.tensor([0, 1, 1]), 0.01)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((200 + math.log(3)) / 2, rel=1e-5)
    assert torch.isfinite(anchors.grad).all()
