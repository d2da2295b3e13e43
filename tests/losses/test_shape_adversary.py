from __future__ import annotations

import math

import pytest
import torch

from paucis.losses.shape_adversary import passing_loss, telling_loss


def logits(count: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def chance(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_both_equal_the_loop_over_maps() -> None:
    real, found = logits(5), logits(3, seed=1)
    as_real = sum(-math.log(chance(float(one))) for one in found) / 3
    told = sum(-math.log(chance(float(one))) for one in real) / 5
    told += sum(-math.log(1 - chance(float(one))) for one in found) / 3
    assert float(passing_loss(found)) == pytest.approx(as_real, rel=1e-5)
    assert float(telling_loss(real, found)) == pytest.approx(told, rel=1e-5)


def test_a_discriminator_that_knows_nothing_costs_ln_2_a_side() -> None:
    nothing = torch.zeros(4)
    assert float(passing_loss(nothing)) == pytest.approx(math.log(2))
    assert float(telling_loss(nothing, nothing)) == pytest.approx(2 * math.log(2))


def test_the_two_sides_pull_what_was_found_in_opposite_directions() -> None:
    found = logits(4).requires_grad_()
    (up,) = torch.autograd.grad(passing_loss(found), found)
    (down,) = torch.autograd.grad(telling_loss(logits(4, 1), found), found)
    assert bool((up < 0).all())
    assert bool((down > 0).all())


def test_certain_verdicts_and_half_precision_stay_finite() -> None:
    sure = torch.tensor([-200.0, 200.0], dtype=torch.bfloat16)
    for loss, expected in ((passing_loss(sure), 100.0), (telling_loss(sure, sure), 200.0)):
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(expected)
