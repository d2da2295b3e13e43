"""Fields found by intervals against gradients of the network itself, made linear and positive."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import CASES, CLASSES, SIZES, SMALL, small_task
from torch import Tensor, nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks import UncertaintySelection, make
from paucis.networks.base import Network
from paucis.networks.receptive_field import Field, receptive_fields

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
POOLS = {nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}


class First(nn.Module):
    """Stands for attention, which does not count."""

    def forward(self, first: Tensor, *_: Any, **__: Any) -> Tensor:
        return first


class One(nn.Module):
    """Stands for the gate of a squeeze block."""

    def forward(self, feature: Tensor) -> Tensor:
        return torch.ones_like(feature[:, :, :1, :1])


class Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, feature: Tensor) -> Tensor:
        return feature * self.gate(feature)


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module, joined: bool = False) -> None:
        super().__init__()
        self.branches, self.joined = nn.ModuleList(branches), joined

    def forward(self, feature: Tensor) -> Tensor:
        maps = [branch(feature) for branch in self.branches]
        return torch.cat(maps, 1) if self.joined else sum(maps[1:], maps[0])


def linear(network: nn.Module) -> nn.Module:
    """Every path from input to feature carries a positive gradient, and nothing but convolutions and pools mixes."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, NORMS) or "LU" in type(child).__name__ or isinstance(child, nn.Dropout | nn.Dropout2d):
                setattr(module, name, nn.Identity())
            elif type(child) in POOLS:
                setattr(module, name, averaging(child))
            elif type(child).__name__ == "WindowAttention":
                setattr(module, name, First())
            elif isinstance(module, Squeeze):
                setattr(module, name, One())
    for parameter in network.parameters():
        parameter.data.fill_(1.0 / max(parameter[0].numel(), 1) if parameter.dim() > 1 else 0.0)
    return network.double().eval()


def averaging(pool: Any) -> nn.Module:
    """A mean over the same window as the maximum."""
    if isinstance(pool.dilation, int) and pool.dilation > 1:
        raise AssertionError("an average has no dilation")
    return POOLS[type(pool)](pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def seen(feature: Tensor, images: Tensor, axis: int, place: int) -> tuple[int, int]:
    """First and last coordinate along an axis on which a vector depends."""
    middle = [side // 2 for side in feature.shape[2:]]
    middle[axis] = place
    (gradient,) = torch.autograd.grad(feature[(0, slice(None), *middle)].sum(), images, retain_graph=True)
    touched = gradient.abs().movedim(axis + 2, 0).flatten(1).sum(1).nonzero()
    return int(touched.min()), int(touched.max())


def probe(field: Field, feature: Tensor, images: Tensor, axis: int) -> None:
    """The first vector says where fields end, the last where they begin, one between them both."""
    count, side = feature.shape[axis + 2], images.shape[axis + 2]
    half = (field.size[axis] - 1) / 2
    for place, first, last in ((0, False, True), (count // 2, True, True), (count - 1, True, False)):
        center = field.offset[axis] + place * field.stride[axis]
        found = seen(feature, images, axis, place)
        if first:
            assert found[0] == max(center - half, 0), f"vector {place} of {count} along axis {axis}"
        if last:
            assert found[1] == min(center + half, side - 1), f"vector {place} of {count} along axis {axis}"


@pytest.mark.parametrize(("name", "ndim"), CASES)
def test_fields_of_every_shipped_network_are_what_gradients_reach(
    name: str, ndim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make(name, small_task(ndim), SMALL[name])
    layers = [site for site in network.sites if site.startswith("encoder.")][: 5 if ndim == 2 else 2]
    fields = receptive_fields(network, layers, SIZES[ndim])
    for layer in layers:
        assert fields[layer].stride == network.sites[layer].stride
    axis = ndim - 1 if ndim == 3 else CASES.index((name, ndim)) % 2
    size = [32] * ndim
    size[axis] = min(32 * -(-max(fields[layers[-1]].size) // 32), 256 if ndim == 2 else 64)
    images = torch.rand(1, 1, *size, dtype=torch.float64, requires_grad=True)
    network.task = Task(ndim, 1, CLASSES, tuple(size))
    monkeypatch.setattr(nn.functional, "layer_norm", First())
    maps = linear(network).encode(images)
    for layer in layers:
        probe(fields[layer], maps[int(layer[8:])], images, axis)


def random_part(rng: random.Random, channels: int, depth: int = 0) -> nn.Module:
    """A layer that may change the size, or branches that keep it."""
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Conv2d(channels, channels, rng.choice([1, 3, 5]), padding=rng.choice([0, 1, 2])),
        lambda: nn.Conv2d(channels, channels, (3, 2), padding=(0, 1), dilation=(1, 2)),
        lambda: nn.Conv2d(channels, channels, 3, stride=2, padding=1, dilation=rng.choice([1, 2])),
        lambda: nn.Conv2d(channels, channels, (2, 3), stride=(1, 2), padding=1, groups=channels),
        lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=rng.random() < 0.5),
        lambda: nn.AvgPool2d(2),
        lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(channels, channels, 3)),
        lambda: nn.Sequential(nn.InstanceNorm2d(channels), nn.ReLU(), nn.BatchNorm2d(channels)),
        lambda: Squeeze(channels),
        lambda: Branches(nn.Identity(), same(rng, channels), same(rng, channels)),
        lambda: nn.Sequential(
            Branches(same(rng, channels), same(rng, channels), joined=True), nn.Conv2d(2 * channels, channels, 1)
        ),
    ]
    return rng.choice(kinds)()


def same(rng: random.Random, channels: int) -> nn.Module:
    """A row of layers that keeps the size."""
    rows: list[nn.Module] = []
    for _ in range(rng.choice([1, 2])):
        kernel, dilation = rng.choice([1, 3, 5]), rng.choice([1, 2, 3])
        rows += [nn.Conv2d(channels, channels, kernel, padding="same", dilation=dilation), nn.ReLU()]
    return nn.Sequential(*rows)


@pytest.mark.parametrize("seed", range(12))
def test_fields_of_randomly_made_networks_are_what_gradients_reach(seed: int) -> None:
    rng = random.Random(seed)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *(random_part(rng, 2) for _ in range(6)))
    layers = ["2", "4", "6"]
    fields = receptive_fields(network, layers, (64, 48))
    images = torch.rand(1, 1, 192, 160, dtype=torch.float64, requires_grad=True)
    current, maps = images, {}
    for index, part in enumerate(linear(network)):
        current = maps[str(index)] = part(current)
    for layer in layers:
        for axis in (0, 1):
            inner(fields[layer], maps[layer], images, axis)


def inner(field: Field, feature: Tensor, images: Tensor, axis: int) -> None:
    """As ``probe``, of two neighbors away from the border: layers without padding see less of it."""
    for place in (feature.shape[axis + 2] // 2, feature.shape[axis + 2] // 2 + 1):
        center, half = field.offset[axis] + place * field.stride[axis], (field.size[axis] - 1) / 2
        assert seen(feature, images, axis, place) == (center - half, center + half)


def test_a_plain_row_of_layers_follows_equation_5() -> None:
    rng = random.Random(3)
    for _ in range(5):
        rows, size, step = [], 1, 1
        for _ in range(rng.randint(2, 5)):
            kernel, stride = rng.choice([1, 3, 5]), rng.choice([1, 2])
            rows.append(nn.Conv2d(1, 1, kernel, stride, kernel // 2))
            size, step = size + (kernel - 1) * step, step * stride
        field = receptive_fields(nn.Sequential(*rows), [str(len(rows) - 1)], (64, 64))[str(len(rows) - 1)]
        assert field == Field((size, size), (step, step), (0.0, 0.0))


def test_the_published_encoder_has_the_published_fields() -> None:
    parts = [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)]
    for _ in range(2):  # blocks of three separable convolutions, the last of them strided
        parts.append(nn.Sequential(*(nn.Conv2d(4, 4, 3, 2 if i == 2 else 1, 1) for i in range(3))))
    fields = receptive_fields(nn.Sequential(*parts), ["0", "1", "2", "3"], (64, 64))
    assert [field.size[0] for field in fields.values()] == [3, 7, 19, 43]


@pytest.mark.parametrize("ndim", [2, 3])
def test_inserted_blocks_do_not_count_and_the_network_is_left_as_it_was(ndim: int) -> None:
    network = make("unet", small_task(ndim), {"features": 4, "depth": 2})
    before = receptive_fields(network, ["encoder.2"], SIZES[ndim])
    network.insert("encoder.0", UncertaintySelection(ndim, 4, CLASSES))
    network.train()
    assert receptive_fields(network, ["encoder.2"], SIZES[ndim]) == before
    assert list(network.inserted) == ["encoder/0"]
    assert all(module.training for module in network.modules())
    assert not network._taps


def test_anisotropic_kernels_and_strides_give_fields_of_their_own_along_each_axis() -> None:
    task = Task(3, 1, 2, (16, 32, 32), (4.0, 1.0, 1.0), ((1, 2, 2), (2, 2, 2)))
    network = make("unet", task, {"features": 2})
    field = receptive_fields(network, ["encoder.1"], task.patch)["encoder.1"]
    assert field.stride == (1, 2, 2)
    assert field.size[0] < field.size[1] == field.size[2] == 11


def test_layers_that_are_not_there_or_not_reached_are_named() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3))
    with pytest.raises(PaucisError, match="no layer '3'"):
        receptive_fields(network, ["3"], (16, 16))
    with pytest.raises(PaucisError, match="enlarges a map before"):
        receptive_fields(network, ["2"], (16, 16))
    assert receptive_fields(network, ["0"], (16, 16))["0"].size == (3, 3)
    shipped: Network = make("unet", small_task(2), {"features": 2, "depth": 2})
    with pytest.raises(PaucisError, match=r"no site 'encoder.7'"):
        receptive_fields(shipped, ["encoder.7"], (32, 32))
    with pytest.raises(PaucisError, match=r"decoder.0 cannot be found"):
        receptive_fields(shipped, ["decoder.0"], (32, 32))
