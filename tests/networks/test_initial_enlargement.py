"""A decoder begins without a checkerboard: its transposed convolutions enlarge as nearest neighbours do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paucis.batch import Task
from paucis.networks import make
from paucis.networks.blocks import initialize


@pytest.mark.parametrize("kind", ["kaiming", "xavier"])
@pytest.mark.parametrize("layer", [nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_an_enlarged_map_begins_constant_over_each_voxel(layer, kind) -> None:
    up = layer(12, 6, 2, 2)
    initialize(up, kind)
    size = (3, 4, 5)[: up.weight.dim() - 2]
    images = torch.randn(2, 12, *size)
    point = nn.functional.linear(images.movedim(1, -1), up.weight.flatten(2)[:, :, 0].T, up.bias).movedim(-1, 1)
    expected = nn.functional.interpolate(point, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(up(images), expected)


@pytest.mark.parametrize("kind", ["kaiming", "xavier"])
def test_its_weights_are_as_spread_as_those_of_a_convolution_of_one_voxel(kind) -> None:
    up, point = nn.ConvTranspose2d(256, 128, 2, 2), nn.Conv2d(256, 128, 1)
    initialize(up, kind)
    initialize(point, kind)
    assert float(up.weight.detach().std()) == pytest.approx(float(point.weight.detach().std()), rel=0.03)


def test_one_whose_kernel_overlaps_is_left_as_drawn() -> None:
    up = nn.ConvTranspose2d(4, 4, 4, 2, 1)
    initialize(up)
    assert len(torch.unique(up.weight[0, 0])) == 16


@pytest.mark.parametrize(("name", "width"), [("unet", "features"), ("vnet", "filters")])
def test_places_of_a_kernel_part_ways_in_training(name, width) -> None:
    task = Task(2, 1, 3, (32, 32), (1.0, 1.0))
    network = make(name, task, {width: 4, "upsampling": "transposed"})
    ups = [part for part in network.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert ups
    assert all(torch.equal(up.weight, up.weight[..., :1, :1].expand_as(up.weight)) for up in ups)
    images, labels = torch.randn(2, 1, 32, 32), torch.randint(0, 3, (2, 32, 32))
    nn.functional.cross_entropy(network(images).logits, labels).backward()
    assert all(up.weight.grad is not None and len(torch.unique(up.weight.grad[0, 0])) == 4 for up in ups)
