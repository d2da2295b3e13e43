"""A network begins with no preference among the classes, whatever was drawn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paucis.batch import Task
from paucis.networks import make
from paucis.networks.blocks import conv, initialize

SMALL = {
    "unet": {"features": 8},
    "vnet": {"filters": 8},
    "resnet34": {"filters": 8},
    "fcn": {"backbone": "resnet18"},
    "deeplabv3plus": {},
    "resnet50_unet": {"backbone": "resnet18"},
}


@pytest.mark.parametrize("name", SMALL)
def test_no_class_is_ahead_by_the_draw_of_the_head(name) -> None:
    task = Task(2, 1, 4, (64, 64), (1.0, 1.0))
    network = make(name, task, SMALL[name])
    head = network.decoder.head
    assert head.weight.abs().max() > 0
    torch.testing.assert_close(head.weight.flatten(1).mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    assert head.bias is None or not head.bias.any()


@pytest.mark.parametrize("kind", ["kaiming", "xavier"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_constant_map_gives_every_class_the_same_logit(ndim, kind) -> None:
    head = conv(ndim, 12, 5, 1)
    initialize(head, kind, head)
    logits = head(torch.full((1, 12, *(4,) * ndim), 3.7))
    torch.testing.assert_close(logits, torch.zeros_like(logits), atol=1e-5, rtol=0)


def test_what_is_drawn_by_pytorch_is_left_alone() -> None:
    head = nn.Conv2d(8, 3, 1)
    weight, bias = head.weight.clone(), head.bias.clone()
    initialize(head, "default", head)
    assert torch.equal(head.weight, weight)
    assert torch.equal(head.bias, bias)


def test_the_first_logits_prefer_no_class_whatever_the_seed() -> None:
    """With what Kaiming's rule draws for a head, the mean logits of classes lie 0.3 to 1.3 apart over these seeds."""
    task = Task(3, 1, 3, (32, 32, 32), (1.0, 1.0, 1.0))
    images = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    for seed in range(8):
        torch.manual_seed(seed)
        means = make("unet", task, {"features": 8})(images).logits.mean((0, 2, 3, 4))
        assert float((means.max() - means.min()).detach()) < 0.05
