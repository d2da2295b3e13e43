from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from paucis.networks.shape_discriminator import ShapeDiscriminator


def test_it_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in ShapeDiscriminator(2).parameters()) == 52_129


def test_at_the_published_size_five_poolings_leave_fourteen_voxels_and_ten_are_averaged() -> None:
    judge, seen = ShapeDiscriminator(2), []
    for layer in judge.plain:
        layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].shape[2:], output.shape[2:])))
    judge(torch.zeros(1, 1, 448, 448))
    assert seen == [((14, 14), (12, 12)), ((12, 12), (10, 10))]


@pytest.mark.parametrize("size", [(5, 5), (9, 70), (5, 12, 31)])
def test_maps_of_any_size_from_five_voxels_on_give_one_logit(size: tuple[int, ...]) -> None:
    logits = ShapeDiscriminator(len(size))(torch.rand(3, 1, *size))
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("slope", [0.2, 1.0])
def test_it_is_convolutions_pooling_and_linear_layers_with_the_slope_between(slope: float) -> None:
    torch.manual_seed(0)
    judge, maps = ShapeDiscriminator(2, slope), torch.rand(2, 1, 20, 20)

    def bent(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, slope * x)

    current = maps
    for number, layer in enumerate(judge.pooled):
        current = bent(F.conv2d(current, layer.weight, layer.bias, padding=1))
        if number < 2:  # 20, 10, 5
            current = F.max_pool2d(current, 2)
    for layer in judge.plain:
        current = bent(F.conv2d(current, layer.weight, layer.bias))
    assert current.shape[2:] == (1, 1)
    first, last = judge.judge[0], judge.judge[2]
    expected = F.linear(bent(F.linear(current.mean((2, 3)), first.weight, first.bias)), last.weight, last.bias)
    assert torch.allclose(judge(maps), expected.squeeze(1), atol=1e-6)
