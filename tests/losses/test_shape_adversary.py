from __future__ import annotations

import math

import pytest
import torch

from paucis.losses.shape_adversary import passing_loss, slope_penalty, telling_loss


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


def test_the_slope_of_a_line_is_its_weight_and_that_of_a_square_grows_with_the_map() -> None:
    maps = torch.rand((3, 1, 4, 5), generator=torch.Generator().manual_seed(0))
    weight = torch.randn(20, generator=torch.Generator().manual_seed(1)).requires_grad_()
    line = slope_penalty(lambda shown: shown.flatten(1) @ weight, maps)
    assert float(line.detach()) == pytest.approx(0.5 * float(weight.detach().square().sum()), rel=1e-5)
    (grad,) = torch.autograd.grad(line, weight)
    assert torch.allclose(grad, weight.detach(), atol=1e-5)
    steep = torch.tensor(3.0, requires_grad=True)
    bowl = slope_penalty(lambda shown: steep / 2 * shown.flatten(1).square().sum(1), maps)
    expected = sum(0.5 * 9 * float(one.square().sum()) for one in maps) / 3
    assert float(bowl.detach()) == pytest.approx(expected, rel=1e-5)
    (grad,) = torch.autograd.grad(bowl, steep)
    assert float(grad) == pytest.approx(2 * expected / 3, rel=1e-5)


def test_the_slope_of_a_discriminator_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    judge = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(12, 1), torch.nn.Flatten(0)
    ).double()
    maps = torch.rand((2, 1, 4, 4), dtype=torch.float64)
    squares = 0.0
    with torch.no_grad():
        for place in range(maps.numel()):
            step = torch.zeros(maps.numel(), dtype=torch.float64)
            step[place] = 1e-5
            step = step.reshape(maps.shape)
            squares += float((judge(maps + step) - judge(maps - step)).sum() / 2e-5) ** 2
    penalty = slope_penalty(judge.float(), maps.float())
    assert penalty.dtype == torch.float32
    assert float(penalty.detach()) == pytest.approx(squares / 2 / 2, rel=1e-3)


def test_the_slope_is_taken_in_float32_under_autocast() -> None:
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1), torch.nn.Flatten(0))
    maps = torch.rand(2, 1, 4, 4)
    plain = slope_penalty(judge, maps)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(slope_penalty(judge, maps), plain)
