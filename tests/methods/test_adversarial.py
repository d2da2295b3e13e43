from __future__ import annotations

import pytest
import torch
from torch import nn

from paucis.methods.parts.adversarial import fooling_loss, telling_apart_loss

MAPS, IMAGES = torch.rand(3, 2, 4, 4), torch.rand(3, 1, 4, 4)


class Judge(nn.Module):
    """Says of image i what is given, and notes its mode."""

    def __init__(self, *verdicts: float) -> None:
        super().__init__()
        self.verdicts = nn.Parameter(torch.tensor(verdicts))
        self.modes: list[bool] = []

    def forward(self, maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        yes = self.verdicts + 0 * maps.sum((1, 2, 3))
        return torch.stack([torch.zeros_like(yes), yes], 1)


def test_passing_as_labeled_costs_minus_the_log_of_the_probability_of_yes() -> None:
    judge = Judge(0.0, 1.0, -2.0)
    expected = -torch.tensor([0.0, 1.0, -2.0]).sigmoid().log().mean()
    assert float(fooling_loss(judge, MAPS, IMAGES).detach()) == pytest.approx(float(expected), rel=1e-6)
    assert judge.modes == [False]
    assert judge.training


def test_telling_apart_asks_yes_of_the_first_and_no_of_the_rest() -> None:
    judge = Judge(0.5, 1.0, -2.0)
    yes = torch.tensor([0.5, 1.0, -2.0]).sigmoid()
    expected = -(yes[0].log() + (1 - yes[1]).log() + (1 - yes[2]).log()) / 3
    assert float(telling_apart_loss(judge, MAPS, IMAGES, 1).detach()) == pytest.approx(float(expected), rel=1e-6)
    assert judge.modes == [True]


def test_only_the_loss_that_fools_has_a_gradient_to_the_maps() -> None:
    maps = MAPS.clone().requires_grad_(True)
    assert torch.autograd.grad(fooling_loss(Judge(0.0, 0.0, 0.0), maps, IMAGES), maps, allow_unused=True)[0] is not None
    loss = telling_apart_loss(Judge(0.0, 0.0, 0.0), maps, IMAGES, 1)
    assert torch.autograd.grad(loss, maps, allow_unused=True)[0] is None
