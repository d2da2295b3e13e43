from __future__ import annotations

import math

import pytest
import torch

from paucis.losses.paired_contrast import paired_contrast


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_equals_the_loop_over_pairs() -> None:
    anchors, candidates = vectors(2, 5, 3), vectors(2, 5, 3, seed=1)
    terms = []
    for own, theirs in zip(anchors, candidates, strict=True):
        for i in range(5):
            similar = [float(torch.cosine_similarity(own[i], theirs[k], dim=0)) / 0.5 for k in range(5)]
            terms.append(-similar[i] + math.log(sum(math.exp(s) for s in similar)))
    assert float(paired_contrast(anchors, candidates, 0.5)) == pytest.approx(sum(terms) / 10, rel=1e-5)


def test_by_hand_for_partners_that_are_orthogonal_to_the_rest() -> None:
    expected = -math.log(math.e / (math.e + 2))
    assert float(paired_contrast(torch.eye(3), torch.eye(3), 1.0)) == pytest.approx(expected)


def test_the_order_of_pairs_does_not_matter_but_their_pairing_does() -> None:
    anchors, candidates = vectors(6, 4), vectors(6, 4) + 0.1 * vectors(6, 4, seed=1)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    loss = paired_contrast(anchors, candidates, 0.2)
    assert torch.allclose(loss, paired_contrast(anchors[order], candidates[order], 0.2))
    assert paired_contrast(anchors, candidates[order], 0.2) > loss + 0.1


def test_one_pair_alone_and_zero_vectors_cost_no_nan() -> None:
    alone = vectors(1, 4).requires_grad_(True)
    loss = paired_contrast(alone, vectors(1, 4, seed=1), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(alone.grad, torch.zeros(1, 4))
    empty = torch.zeros(3, 4, requires_grad=True)
    paired_contrast(empty, empty, 0.1).backward()
    assert torch.isfinite(empty.grad).all()


def test_half_precision_is_computed_in_full() -> None:
    anchors = vectors(4, 8).bfloat16()
    assert paired_contrast(anchors, anchors, 0.1).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(
            paired_contrast(anchors, anchors, 0.1), paired_contrast(anchors.float(), anchors.float(), 0.1)
        )
