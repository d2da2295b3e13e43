"""The U-Net's depth, strides and kernels, and the literature's 2D form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks import make

LITERATURE = {
    "features": 16,
    "normalization": "batch",
    "depth": 4,
    "dropout": (0.05, 0.1, 0.2, 0.3, 0.5),
    "downsampling": "pool",
    "upsampling": "interpolate",
    "head": 3,
}


def test_the_form_of_the_literature_has_its_channels_dropout_and_parameters() -> None:
    with torch.device("meta"):
        network = make("unet", Task(2, 1, 4, (256, 256)), LITERATURE)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_813_764
    assert [network.sites[f"encoder.{level}"].channels for level in range(5)] == [16, 32, 64, 128, 256]
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout2d)] == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert network.decoder.head.kernel_size == (3, 3)


@pytest.mark.parametrize("first", [(), ((1, 1, 1),)])
def test_strides_of_the_plan_are_followed_whether_or_not_it_lists_the_full_size(
    first: tuple[tuple[int, ...], ...],
) -> None:
    task = Task(3, 1, 2, (8, 32, 32), (5.0, 1.0, 1.0), (*first, (1, 2, 2), (2, 2, 2)))
    network = make("unet", task, {"features": 2})
    assert [network.sites[f"encoder.{level}"].stride for level in range(3)] == [(1, 1, 1), (1, 2, 2), (2, 4, 4)]
    assert network.multiple == (2, 4, 4)
    assert network(torch.randn(1, 1, 10, 36, 28)).logits.shape == (1, 2, 10, 36, 28)


def test_kernels_are_flat_where_the_spacing_is_coarse() -> None:
    task = Task(3, 1, 2, (8, 32, 32), (3.0, 1.0, 1.0), ((1, 2, 2), (2, 2, 2)))
    network = make("unet", task, {"features": 2})
    kernels = [stage[-1][4].kernel_size for stage in network.encoder]
    assert kernels == [(1, 3, 3), (3, 3, 3), (3, 3, 3)]  # 3 mm beside 1, then 3 beside 2, then 6 beside 4


def test_depth_cuts_or_continues_the_plan() -> None:
    task = Task(3, 1, 2, (32, 64, 64), (3.0, 1.0, 1.0), ((1, 2, 2), (2, 2, 2)))
    deepest = {depth: make("unet", task, {"features": 2, "depth": depth}).multiple for depth in (None, 1, 3)}
    assert deepest == {None: (2, 4, 4), 1: (1, 2, 2), 3: (4, 8, 8)}
    assert make("unet", Task(2, 1, 2, (64, 64)), {"features": 2}).multiple == (16, 16)


def test_channels_stop_growing_at_the_largest_asked_for() -> None:
    network = make("unet", Task(2, 1, 2, (64, 64)), {"features": 4, "max_features": 10})
    assert [network.sites[f"encoder.{level}"].channels for level in range(5)] == [4, 8, 10, 10, 10]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("upsampling", ["transposed", "interpolate", "nearest"])
@pytest.mark.parametrize("downsampling", ["stride", "pool"])
def test_every_way_to_change_the_size_works(ndim: int, upsampling: str, downsampling: str) -> None:
    task = Task(ndim, 1, 3, (16, 24, 32)[:ndim])
    values = {"features": 2, "depth": 2, "upsampling": upsampling, "downsampling": downsampling}
    assert make("unet", task, values)(torch.randn(1, 1, *task.patch)).logits.shape == (1, 3, *task.patch)


@pytest.mark.parametrize("kind", ["leaky_relu", "relu", "elu", "gelu"])
def test_every_activation_learns(kind: str) -> None:
    network = make("unet", Task(2, 1, 2, (16, 16)), {"features": 2, "depth": 1, "activation": kind})
    network(torch.randn(1, 1, 16, 16)).logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_dropout_of_another_number_of_levels_is_refused() -> None:
    with pytest.raises(PaucisError, match=r"network\.dropout names 2 levels and the network has 3"):
        make("unet", Task(2, 1, 2, (64, 64)), {"depth": 2, "dropout": (0.1, 0.2)})


def test_a_network_deeper_than_the_patch_is_refused() -> None:
    with pytest.raises(PaucisError, match=r"patch 16x16: lower network\.depth"):
        make("unet", Task(2, 1, 2, (16, 16)), {})
