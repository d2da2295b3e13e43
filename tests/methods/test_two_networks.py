from __future__ import annotations

from typing import Any

import torch

from engine import TASKS, builder, make, make_batch
from paucis.methods.cps import Cps, CpsOptions
from paucis.networks.base import Network


def test_the_networks_start_from_different_weights_and_the_first_is_reported() -> None:
    method = make("cps", 2)
    assert method.networks() == (method.network, method.second)
    assert not torch.equal(next(method.network.parameters()), next(method.second.parameters()))
    images = make_batch(TASKS[2]).unlabeled
    method.eval()
    assert torch.equal(method.predict(images).additive["probabilities"], method.network(images).logits.softmax(1))


def test_the_second_network_or_the_mean_can_be_reported() -> None:
    images = make_batch(TASKS[2]).unlabeled
    second, mean = make("cps", 2, predict="second").eval(), make("cps", 2, predict="mean").eval()
    one, two = (network(images).logits.softmax(1) for network in second.networks())
    assert torch.equal(second.predict(images).additive["probabilities"], two)
    prediction = mean.predict(images)
    assert torch.allclose(prediction.additive["probabilities"], (one + two) / 2, atol=1e-6)
    assert torch.allclose(prediction.members["first"], one, atol=1e-6)
    assert torch.allclose(prediction.members["second"], two, atol=1e-6)


def test_the_second_network_may_be_of_another_kind() -> None:
    asked: list[str | None] = []

    def build(name: str | None = None, **options: Any) -> Network:
        asked.append(name)
        return builder(TASKS[2])(name, **options)

    Cps(build, TASKS[2], CpsOptions(second="vnet"))
    assert asked == [None, "vnet"]
