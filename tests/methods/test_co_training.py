from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import PLAIN, TASKS, Seen, builder, make, make_batch, make_setting, step
from paucis.batch import Task
from paucis.losses import jensen_shannon, kl_divergence
from paucis.methods.co_training import CoTraining, CoTrainingOptions, _plane
from paucis.networks.base import Network, Site


@pytest.mark.parametrize("ndim", [2, 3])
def test_agreement_is_the_jensen_shannon_divergence_on_unlabeled_images(ndim: int) -> None:
    method, batch = make("co_training", ndim, network=PLAIN), make_batch(TASKS[ndim])
    one, two = (network(batch.unlabeled).logits for network in method.networks())
    expected = 0.5 * float(jensen_shannon(one, two, batch.valid).detach())
    assert expected > 1e-4
    assert float(step(method, batch).losses["agreement"].detach()) == pytest.approx(expected, rel=1e-3)


def test_without_a_second_network_there_is_nothing_to_agree_on() -> None:
    method, batch = make("co_training", 2, network=PLAIN), make_batch(TASKS[2])
    method.second.load_state_dict(method.network.state_dict())
    assert float(step(method, batch).losses["agreement"].detach()) == pytest.approx(0.0, abs=1e-6)


def test_diversity_asks_each_network_about_the_images_that_fool_the_other() -> None:
    method, batch = make("co_training", 2, network=PLAIN, diversity=1.0), make_batch(TASKS[2])
    seen = [Seen(network) for network in method.networks()]
    loss = step(method, batch).losses["diversity"]
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    # each network: the clean images, in eval mode for the images that fool it, those that fool the other
    assert seen[0].training == [True, False, True]
    assert seen[1].training == [True, True, False]
    fooling_first, fooling_second = seen[1].images[1], seen[0].images[2]
    size = 0.1 * images.std((2, 3), correction=0, keepdim=True)
    for fooling in (fooling_first, fooling_second):
        assert not torch.equal(fooling, images)
        assert ((fooling - images).abs() <= size * 1.001).all()
    assert not torch.equal(fooling_first, fooling_second)
    valid = torch.cat([batch.labeled.labels != 255, batch.valid])
    first, second = method.networks()
    expected = kl_divergence(first(images).logits, second(fooling_first).logits, valid)
    expected = 0.5 * (expected + kl_divergence(second(images).logits, first(fooling_second).logits, valid))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)


def test_without_the_adversarial_step_diversity_is_the_plain_divergence() -> None:
    batch = make_batch(TASKS[2])
    losses = [
        float(step(make("co_training", 2, network=PLAIN, epsilon=epsilon), batch).losses["diversity"].detach())
        for epsilon in (0.0, 0.5)
    ]
    method = make("co_training", 2, network=PLAIN)
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    one, two = (network(images).logits for network in method.networks())
    valid = torch.cat([batch.labeled.labels != 255, batch.valid])
    plain = 0.05 * 0.5 * float((kl_divergence(one, two, valid) + kl_divergence(two, one, valid)).detach())
    assert losses[0] == pytest.approx(plain, rel=1e-3)
    assert abs(losses[1] - plain) > 0.01 * plain


def test_clean_predictions_are_targets_and_take_no_gradient_from_diversity() -> None:
    method, batch = make("co_training", 2, network=PLAIN), make_batch(TASKS[2])
    for parameter in method.second.parameters():
        parameter.requires_grad_(False)
    asked = step(method, batch).losses["diversity"]
    asked.backward()
    got = torch.cat([parameter.grad.flatten() for parameter in method.network.parameters()])
    # the first network's gradient comes from what it says of the images that fool the second, and nothing else
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    valid = torch.cat([batch.labeled.labels != 255, batch.valid])
    seen = Seen(method.network)
    step(method, batch)
    clean = method.second(images).logits.detach()
    loss = 0.05 * 0.5 * kl_divergence(clean, method.network(seen.images[2]).logits, valid)
    wanted = torch.autograd.grad(loss, list(method.network.parameters()))
    assert torch.allclose(got, torch.cat([each.flatten() for each in wanted]), atol=1e-5)


def test_weights_rise_over_their_shares_and_diversity_begins_later() -> None:
    method, batch = make("co_training", 2), make_batch(TASKS[2])
    early = step(method, batch, 10)
    assert "diversity" not in early.losses
    assert early.monitors["consistency_weight"] == pytest.approx(0.5 * math.exp(-5 * (1 - 0.1 * 2.4) ** 2))
    late = step(method, batch, 60)
    assert late.monitors["consistency_weight"] == 0.5
    assert late.monitors["diversity_weight"] == pytest.approx(0.05)


class Pointwise(Network):
    """Sees each voxel alone, and so turns with the image."""

    name = "pointwise"
    Options = dict

    def __init__(self, task: Task) -> None:
        super().__init__(task, {})
        self.sites = {"encoder.0": Site(4, (1,) * task.ndim)}
        conv = nn.Conv2d if task.ndim == 2 else nn.Conv3d
        self.first, self.head = conv(task.channels, 4, 1), conv(4, task.classes, 1)

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.first(images).relu(),)

    def decode(self, maps: Any, size: Any) -> tuple[tuple[Tensor, ...], Tensor]:
        return (maps[0],), self.head(maps[0])


@pytest.mark.parametrize("patch", [(24, 24), (32, 24), (8, 16, 16), (16, 8, 12)])
def test_rotated_views_of_a_network_that_turns_with_the_image_agree(patch: tuple[int, ...]) -> None:
    task = Task(len(patch), 1, 4, patch)
    options = CoTrainingOptions(variant="rotated_views", ramp=0.0, agreement=1.0)
    method = CoTraining(lambda *_: Pointwise(task), task, options)
    seen = Seen(method.network)
    for seed in range(4):
        loss = step(method, make_batch(task), seed=seed).losses["agreement"]
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-9)
    assert any(not torch.equal(view, make_batch(task).unlabeled) for view in seen.images[1::2])


def test_rotated_views_of_a_network_that_does_not_turn_are_held_to_each_other() -> None:
    task = Task(2, 1, 4, (24, 24))
    options = CoTrainingOptions(variant="rotated_views", ramp=0.0)
    torch.manual_seed(0)
    method = CoTraining(builder(task, **PLAIN), task, options)
    batch = make_batch(task, unlabeled=4)
    result = step(method, batch, seed=1)
    torch.manual_seed(1)
    turns = torch.randint(4, (4,))
    assert len(set(turns.tolist())) > 1
    total, count = 0.0, 0
    for image, valid, turn in zip(batch.unlabeled, batch.valid, turns.tolist(), strict=True):
        p = method.network(image.unsqueeze(0)).logits.softmax(1)[0].rot90(turn, (1, 2))
        q = method.network(image.rot90(turn, (1, 2)).unsqueeze(0)).logits.softmax(1)[0]
        kept = valid.rot90(turn, (0, 1))
        total += float((p - q).square().sum(0)[kept].sum().detach())
        count += 4 * int(kept.sum())
    # two halves of equal value
    assert float(result.losses["agreement"].detach()) == pytest.approx(0.1 * total / count, rel=1e-3)
    assert total > 0
    assert method.networks() == (method.network,)


def test_images_turn_in_the_plane_of_equal_sizes_and_spacings() -> None:
    assert _plane(Task(2, 1, 2, (24, 24))) == (0, 1)
    assert _plane(Task(3, 1, 2, (8, 24, 24), (3.0, 1.0, 1.0))) == (1, 2)
    assert _plane(Task(3, 1, 2, (24, 24, 8), (1.0, 1.0, 3.0))) == (0, 1)
    assert _plane(Task(3, 1, 2, (16, 16, 16), (1.0, 2.0, 1.0))) == (0, 2)


def test_one_network_cannot_have_a_second_one() -> None:
    setting = make_setting(TASKS[2])
    assert CoTraining.check(setting, CoTrainingOptions(variant="rotated_views")) == []
    for options in ({"second": "vnet"}, {"predict": "mean"}):
        (line,) = CoTraining.check(setting, CoTrainingOptions(variant="rotated_views", **options))
        assert "method.variant" in line
