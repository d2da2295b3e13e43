from __future__ import annotations

import math

import pytest
import torch

from paucis.uncertainty.looks import Looks, binary_entropy


def bits(r: float) -> float:
    return -sum(p * math.log2(p) for p in (r, 1 - r) if p > 0)


def test_entropy_in_bits_of_shares_of_any_shape() -> None:
    shares = torch.tensor([[0.0, 0.5, 1.0], [0.1, 0.25, 0.9]])
    expected = torch.tensor([[bits(float(r)) for r in row] for row in shares])
    assert torch.allclose(binary_entropy(shares), expected, atol=1e-6)


def test_mask_and_uncertainty_of_a_case_made_by_hand() -> None:
    # four voxels, three looks: all sure of it; sure, but of different things; doubtful all along; half on average
    seen = torch.tensor([[1.0, 1.0, 0.6, 0.5], [1.0, 1.0, 0.6, 0.25], [1.0, 0.0, 0.6, 0.75]])
    looks = Looks((4,), 3)
    for look in seen:
        looks.add(look)
    assert looks.mask.tolist() == [True, True, True, False], "a mean of exactly one half is none of it"
    expected = [0.0, 0.0, bits(0.6), (1 + 2 * bits(0.25)) / 3]
    assert looks.uncertainty.tolist() == pytest.approx(expected, abs=1e-6)
    assert looks.uncertainty[1] < bits(2 / 3), "the mean of the entropies, not the entropy of the mean"


def test_equal_to_the_loop_over_looks_and_voxels_also_in_parts() -> None:
    seen = torch.rand((5, 4, 3), generator=torch.Generator().manual_seed(0))
    whole, parts = Looks((4, 3), 5), Looks((4, 3), 5)
    for look in seen:
        whole.add(look)
        parts.add(look[:1], slice(0, 1))
        parts.add(look[1:], slice(1, 4))
    for y in range(4):
        for x in range(3):
            values = [float(look[y, x]) for look in seen]
            assert bool(whole.mask[y, x]) == (sum(values) / 5 > 0.5)
            assert float(whole.uncertainty[y, x]) == pytest.approx(sum(map(bits, values)) / 5, abs=1e-6)
    assert torch.equal(whole.mask, parts.mask)
    assert torch.equal(whole.uncertainty, parts.uncertainty)


def test_a_single_sure_look_leaves_no_doubt_and_half_precision_is_taken() -> None:
    looks = Looks((2,), 1)
    looks.add(torch.tensor([0.0, 1.0], dtype=torch.bfloat16))
    assert looks.mask.tolist() == [False, True]
    assert looks.uncertainty.tolist() == [0.0, 0.0]
