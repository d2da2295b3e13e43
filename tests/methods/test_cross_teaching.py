from __future__ import annotations

from typing import Any

import pytest
import torch

from engine import PLAIN, TASKS, builder, make, make_batch, make_setting, step
from paucis.batch import IGNORE, Task
from paucis.losses import dice_loss
from paucis.methods.cross_teaching import CrossTeaching, CrossTeachingOptions
from paucis.networks.base import Network

FIXED = {"ramp_kind": "constant", "network": PLAIN, "consistency": 1.0}


@pytest.mark.parametrize("ndim", [2, 3])
def test_networks_are_compared_with_each_others_labels_by_dice(ndim: int) -> None:
    method, batch = make("cross_teaching", ndim, **FIXED), make_batch(TASKS[ndim])
    one, two = (network(batch.unlabeled).logits for network in method.networks())
    expected = 0.0
    for logits, other in ((one, two), (two, one)):
        p, y = logits.softmax(1), other.argmax(1)
        for label in range(4):
            mine, theirs = p[:, label][batch.valid], y.eq(label)[batch.valid].float()
            dice = (2 * (mine * theirs).sum() + 1e-5) / (mine.square().sum() + theirs.sum() + 1e-5)
            expected += float(1 - dice.detach()) / 4
    assert float(step(method, batch).losses["cross"].detach()) == pytest.approx(expected, rel=1e-4)


def test_without_a_second_opinion_the_loss_is_another_and_labels_carry_no_gradient() -> None:
    method, batch = make("cross_teaching", 2, **FIXED), make_batch(TASKS[2])
    result = step(method, batch)
    result.losses["cross"].backward()
    got = torch.cat([parameter.grad.flatten() for parameter in method.network.parameters()])
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    labels = method.second(images).logits[2:].argmax(1).masked_fill(~batch.valid, IGNORE)
    alone = dice_loss(method.network(images).logits[2:], labels)
    wanted = torch.autograd.grad(alone, list(method.network.parameters()))
    assert torch.allclose(got, torch.cat([each.flatten() for each in wanted]), atol=1e-5)
    method.second.load_state_dict(method.network.state_dict())
    assert float(step(method, batch).losses["cross"].detach()) < float(result.losses["cross"].detach()) - 0.01


@pytest.mark.parametrize(("ndim", "transformer"), [(2, "swin_unet"), (3, "swin_unetr")])
def test_the_second_network_is_a_transformer_unless_named(ndim: int, transformer: str) -> None:
    asked: list[str | None] = []

    def build(name: str | None = None, **options: Any) -> Network:
        asked.append(name)
        return builder(TASKS[ndim])(name, **options)

    method = CrossTeaching(build, TASKS[ndim], CrossTeachingOptions())
    CrossTeaching(build, TASKS[ndim], CrossTeachingOptions(second="vnet"))
    assert asked == [None, transformer, None, "vnet"]
    assert method.networks()[0] is method.network


def test_a_second_network_that_does_not_suit_is_refused_before() -> None:
    def problems(patch: tuple[int, ...], network: str = "unet", **options: Any) -> list[str]:
        return CrossTeaching.check(
            make_setting(Task(len(patch), 1, 4, patch), network=network), CrossTeachingOptions(**options)
        )

    before = torch.random.get_rng_state()
    assert problems((64, 64)) == []
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "multiples of 32x32" in problems((64, 50))[0]
    assert "2D" in problems((32, 32, 32), second="swin_unet")[0]
    assert "unknown network 'swin_unt'" in problems((64, 64), second="swin_unt")[0]
    assert "two kinds" in problems((64, 64), network="swin_unet")[0]


def test_a_real_transformer_trains_beside_a_cnn() -> None:
    from paucis.networks import make as network

    task = Task(2, 1, 4, (32, 32))
    small = {"width": 12, "depths": (1, 1, 1, 1), "decoder_depths": (1, 1, 1), "heads": (1, 1, 1, 1)}

    def build(name: str | None = None, **options: Any) -> Network:
        return network(name, task, small) if name else builder(task)(name, **options)

    method = CrossTeaching(build, task, CrossTeachingOptions())
    result = step(method, make_batch(task))
    result.total.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
