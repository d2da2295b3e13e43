"""V-Net and its ResNet-34 sister, against the published figures."""

from __future__ import annotations

import pytest
import torch
from small_networks import SIZES, small_images, small_task
from torch import nn

from paucis.batch import Task
from paucis.networks import make

PUBLISHED = {"vnet": 9_448_866, "resnet34": 17_930_354}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        network = make(name, Task(3, 1, 2, (96, 96, 96)), {})
    assert sum(parameter.numel() for parameter in network.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_maps_are_as_published(name: str) -> None:
    with torch.device("meta"):
        sites = make(name, Task(3, 1, 2, (112, 112, 80)), {}).sites
    assert [sites[f"encoder.{level}"].channels for level in range(5)] == [16, 32, 64, 128, 256]
    assert [sites[f"encoder.{level}"].stride[0] for level in range(5)] == [1, 2, 4, 8, 16]
    assert [sites[f"decoder.{level}"].channels for level in range(4)] == [128, 64, 32, 16]
    assert sites["fusion.2"] == sites["decoder.2"] == (32, (2, 2, 2))  # where MultiCURE puts its module


@pytest.mark.parametrize(("name", "dropped"), [("vnet", ["encoder.4", "decoder.3"]), ("resnet34", ["decoder.3"])])
def test_dropout_acts_where_published(name: str, dropped: list[str]) -> None:
    network = make(name, small_task(3), {"filters": 4, "normalization": "none"})
    rates = {part.p for part in network.modules() if isinstance(part, nn.Dropout3d)}
    assert rates == {0.5}
    images = small_images(3, 1)
    spots = ["encoder.3", "encoder.4", "decoder.3"]
    seen = []
    for _ in range(2):
        with torch.no_grad(), network.tap(spots) as maps:
            network(images)
        seen.append(dict(maps))
    silent = [
        site for site in spots if _whole_channels_missing(seen[0][site]) != _whole_channels_missing(seen[1][site])
    ]
    assert silent == dropped
    assert not any(
        isinstance(part, nn.Dropout3d) for part in make(name, small_task(3), {"has_dropout": False}).modules()
    )


def _whole_channels_missing(features: torch.Tensor) -> list[bool]:
    return (features.flatten(2).abs().amax(2) == 0)[0].tolist()


def test_skips_are_added() -> None:
    network = make("vnet", small_task(2), {"filters": 2, "has_dropout": False}).eval()
    images = small_images(2, 1)
    with torch.no_grad(), network.tap(["encoder.3", "encoder.4", "fusion.0"]) as maps:
        network(images)
        enlarged = network.decoder.ups[0](maps["encoder.4"])
    torch.testing.assert_close(maps["fusion.0"], enlarged + maps["encoder.3"])


@pytest.mark.parametrize("kind", ["instance", "batch", "group", "none"])
def test_every_normalization_works(kind: str) -> None:
    network = make("vnet", small_task(2), {"filters": 2, "normalization": kind})
    kinds = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d, "group": nn.GroupNorm}
    found = [part for part in network.modules() if isinstance(part, tuple(kinds.values()))]
    assert all(isinstance(part, kinds[kind]) for part in found)
    assert bool(found) == (kind != "none")
    assert network(small_images(2)).logits.shape == (2, 4, *SIZES[2])


def test_weights_are_drawn_as_asked() -> None:
    drawn = {}
    for kind in ("kaiming", "xavier", "default"):
        torch.manual_seed(1)
        weight = make("vnet", small_task(2), {"initialization": kind}).encoder[2][1][0].weight.detach()
        fan = weight[0].numel()
        drawn[kind] = float(weight.std() * fan**0.5)
    assert drawn["kaiming"] == pytest.approx(2**0.5, rel=0.05)
    assert drawn["xavier"] == pytest.approx(1, rel=0.05)
    assert drawn["default"] == pytest.approx((1 / 3) ** 0.5, rel=0.05)
