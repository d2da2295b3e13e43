from __future__ import annotations

import torch
from tiny_network import TASK, tiny, tiny_batch

from paucis.losses import cross_entropy, dice_loss
from paucis.methods.base import METHODS, Clock, Setting
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.methods.supervised import Supervised
from paucis.options import build


def test_the_loss_is_the_mean_of_cross_entropy_and_dice_on_the_labeled_images() -> None:
    torch.manual_seed(0)
    method = METHODS.get("supervised")(tiny, TASK, SupervisedOptions())
    batch = tiny_batch()
    result = method.step(batch, Clock(0, 10), method.phases[0])
    logits, labels = result.aligned.features.logits, batch.labeled.labels
    assert torch.allclose(result.total, 0.5 * (cross_entropy(logits, labels) + dice_loss(logits, labels)))
    assert len(logits) == len(labels) == len(result.aligned.labels)


def test_unlabeled_images_change_nothing() -> None:
    method = Supervised(tiny, TASK, SupervisedOptions())
    with_them, without = tiny_batch(), tiny_batch()._replace(unlabeled=None, valid=None)
    totals = [method.step(batch, Clock(0, 10), method.phases[0]).total for batch in (with_them, without)]
    assert torch.equal(*totals)


def test_options_choose_the_dice_of_the_experiment() -> None:
    torch.manual_seed(0)
    method = Supervised(tiny, TASK, SupervisedOptions())
    losses = []
    for values in ({}, {"dice_background": "false"}, {"dice_squared": "false"}, {"ce": "0"}, {"dice": "0"}):
        method.options = build(SupervisedOptions, values, "method.")
        losses.append(float(method.step(tiny_batch(), Clock(0, 10), method.phases[0]).total.detach()))
    assert len({round(loss, 5) for loss in losses}) == 5


def test_it_learns_a_crop() -> None:
    torch.manual_seed(0)
    method = Supervised(tiny, TASK, SupervisedOptions())
    batch = tiny_batch(labeled=1)
    batch.labeled.labels[:] = (batch.labeled.images[:, 0] > 0).long()
    (phase,) = method.phases
    optimizer = torch.optim.Adam(phase.parameters, 0.02)
    losses = []
    for step in range(25):
        optimizer.zero_grad()
        loss = method.step(batch, Clock(step, 25), phase).total
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    probabilities = method.eval().predict(batch.labeled.images).additive["probabilities"]
    assert probabilities.shape == (1, 4, *TASK.patch)
    assert torch.allclose(probabilities.sum(1), torch.ones(1, *TASK.patch), atol=1e-5)


def test_it_asks_for_labeled_cases_only() -> None:
    assert Supervised.check(Setting(TASK, 3, 0, 2, 2, "tiny"), SupervisedOptions()) == []
    assert "labeled cases" in Supervised.check(Setting(TASK, 0, 9, 2, 2, "tiny"), SupervisedOptions())[0]
