from __future__ import annotations

import copy

import pytest
import torch
from small_networks import SMALL, small_task
from torch import nn

from paucis.networks import guard_convolutions, make
from paucis.networks.shallow_conv import ShallowConv3d


def _litter() -> None:
    """Leaves NaN in freed memory, which a kernel that reads unwritten memory then finds."""
    for count in (1000, 8000, 20000, 60000, 100000, 400000):
        rows = [torch.full((count,), float("nan")) for _ in range(4)]
        del rows


@pytest.mark.parametrize(("depth", "kernel"), [(2, 3), (3, 3), (1, 3), (4, 5)])
@pytest.mark.parametrize("autocast", [True, False])
def test_bf16_gradients_on_shallow_maps_are_those_of_float32(depth: int, kernel: int, autocast: bool) -> None:
    plain = nn.Conv3d(8, 16, kernel, padding=kernel // 2)
    guarded = guard_convolutions(copy.deepcopy(plain))
    if not autocast:
        guarded = guarded.bfloat16()
    images = torch.randn(2, 8, depth, 5, 4).bfloat16()
    for _ in range(3):
        guarded.zero_grad()
        _litter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = guarded(images)
        assert output.dtype == torch.bfloat16
        weights = torch.linspace(-1, 1, output.numel()).view_as(output)
        (output.float() * weights).sum().backward()
        plain.zero_grad()
        (plain(images.float()) * weights).sum().backward()
        difference = (guarded.weight.grad.float() - plain.weight.grad).norm()
        assert difference < 0.02 * plain.weight.grad.norm()


def test_float32_is_left_alone() -> None:
    plain = nn.Conv3d(2, 3, 3, padding=1)
    guarded = guard_convolutions(copy.deepcopy(plain))
    images = torch.randn(1, 2, 2, 4, 4)
    assert torch.equal(guarded(images), plain(images))


@pytest.mark.parametrize("name", ["resnet50_unet", "swin_unetr"])
def test_convolutions_of_a_library_are_guarded(name: str) -> None:
    network = make(name, small_task(3), SMALL[name])
    network.insert("decoder.0", nn.Sequential(nn.Conv3d(4, 4, 3)))
    parts = [part for part in network.modules() if isinstance(part, nn.Conv3d)]
    assert len(parts) > 10
    assert all(isinstance(part, ShallowConv3d) for part in parts)
