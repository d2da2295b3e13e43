from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import figures, look, reaches

from engine import TASKS, make, make_batch, make_setting
from paucis.batch import IGNORE, Annotated
from paucis.losses.sharpen import sharpen
from paucis.methods.mcf import MCF, MCFOptions, rectification
from paucis.networks import make as make_network

BATCH = make_batch(TASKS[2])
PLAIN = {"dropout": (0.0,)}


def test_rectification_counts_only_labeled_voxels_where_the_networks_differ() -> None:
    one, two = (torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    labels = torch.randint(0, 4, (2, 6, 5), generator=torch.Generator().manual_seed(2))
    labels[:, 0] = IGNORE
    expected = 0.0
    for each in (one, two):
        terms = [
            float((each[b, :, i, j].softmax(0) - torch.eye(4)[labels[b, i, j]]).square().mean())
            for b, i, j in labels.ne(IGNORE).nonzero().tolist()
            if one[b, :, i, j].argmax() != two[b, :, i, j].argmax()
        ]
        expected += sum(terms) / len(terms)
    annotated = Annotated(torch.zeros(2, 1, 6, 5), labels)
    assert float(rectification(one, two, annotated)) == pytest.approx(expected, rel=1e-5)
    assert float(rectification(one, one, annotated)) == 0.0


def test_for_two_classes_rectification_is_the_published_one_of_the_foreground() -> None:
    one, two = (torch.randn(1, 2, 40, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    labels = torch.randint(0, 2, (1, 40), generator=torch.Generator().manual_seed(2))
    mask = (one.argmax(1) == 1) ^ (two.argmax(1) == 1)
    squares = [(each.softmax(1)[:, 1] - labels)[mask].square().mean() for each in (one, two)]
    result = rectification(one, two, Annotated(torch.zeros(1, 1, 40), labels))
    assert float(result) == pytest.approx(float(sum(squares)), rel=1e-5)


def favored(first: bool) -> MCF:
    """One network always right about the labeled images: its head's bias is the only class there is."""
    method = make("mcf", 2, network=PLAIN)
    right, wrong = (method.network, method.second) if first else (method.second, method.network)
    with torch.no_grad():
        right.decoder.head.bias[1] += 8.0
        wrong.decoder.head.bias[2] += 8.0
    return method


@pytest.mark.parametrize("first", [True, False])
def test_the_better_network_teaches_and_the_other_alone_learns(first: bool) -> None:
    method = favored(first)
    labels = torch.ones_like(BATCH.labeled.labels)
    batch = BATCH._replace(labeled=BATCH.labeled._replace(labels=labels))
    result = look(method, batch)
    assert bool(result.monitors["first_better"]) == first
    assert reaches(result.losses["consistency"], method.network) != first
    assert reaches(result.losses["consistency"], method.second) == first
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    good, poor = (method.network, method.second) if first else (method.second, method.network)
    target = sharpen(good(images).logits[2:].softmax(1), 0.1)
    difference = (poor(images).logits[2:].softmax(1) - target).square().mean(1)[batch.valid].mean()
    assert float(result.losses["consistency"].detach()) == pytest.approx(
        result.monitors["consistency_weight"] * float(difference.detach()), rel=1e-4
    )


def test_taking_out_the_second_network_takes_out_what_it_corrects() -> None:
    method = make("mcf", 2, network=PLAIN)
    apart = figures(look(method, BATCH))
    method.second.load_state_dict(method.network.state_dict())
    same = figures(look(method, BATCH))
    assert apart["rectify"] > 0
    assert same["rectify"] == 0.0
    assert same["supervised"] == pytest.approx(same["supervised_second"])
    assert apart["supervised"] != pytest.approx(apart["supervised_second"], rel=1e-3)


@pytest.mark.parametrize("predict", ["first", "second", "mean"])
def test_the_prediction_is_the_one_asked_for(predict: Any) -> None:
    method = make("mcf", 2, predict=predict).eval()
    one, two = (net(BATCH.unlabeled).logits.softmax(1) for net in (method.network, method.second))
    expected = {"first": one, "second": two, "mean": (one + two) / 2}[predict]
    assert torch.allclose(method.predict(BATCH.unlabeled).additive["probabilities"], expected, atol=1e-6)


def test_the_second_network_is_the_named_one_and_must_take_the_patch() -> None:
    task = make_setting(TASKS[3]).task

    def build(name: str | None = None) -> Any:
        return make_network(name or "unet", task, {"features": 4, "depth": 2} if name is None else {"filters": 2})

    method = MCF(build, task, MCFOptions())
    assert (method.network.name, method.second.name) == ("unet", "resnet34")
    assert method.networks() == (method.network, method.second)
    (problem,) = MCF.check(make_setting(TASKS[3]), MCFOptions())
    assert "method.second=resnet34" in problem
    assert "16x8x12" in problem
    assert MCF.check(make_setting(TASKS[3]), MCFOptions(second=None)) == []
    assert "3D" in MCF.check(make_setting(TASKS[3]), MCFOptions(second="deeplabv3plus"))[0]
