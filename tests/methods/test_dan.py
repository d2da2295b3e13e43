from __future__ import annotations

import math

import pytest
import torch
from probes import figures, look, reaches, snapshot
from torch.nn import functional as F

from engine import LATE, TASKS, TOTAL, Engine, make, make_batch, values
from paucis.methods.base import Clock

BATCH = make_batch(TASKS[2])
SMALL = {"discriminator_features": 4}


def test_each_phase_moves_its_own_side_and_leaves_the_other_alone() -> None:
    method = make("dan", 2, **SMALL)
    engine = Engine(method)
    moved = []
    for number in range(2):
        before = snapshot(method.network), snapshot(method.discriminator)
        engine._phase(BATCH, Clock(LATE, TOTAL), number)
        after = snapshot(method.network), snapshot(method.discriminator)
        moved.append(tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
    assert moved == [(True, False), (False, True)]


def test_the_discriminator_has_the_published_optimizer() -> None:
    main, judge = make("dan", 2, **SMALL).phases
    assert main.optimizer == {}
    assert judge.optimizer["kind"] == "adam"
    assert judge.optimizer["betas"] == (0.9, 0.99)
    assert judge.optimizer["rate"] == 1e-4
    assert judge.optimizer["schedule"] == "constant"
    assert not {id(p) for p in main.parameters} & {id(p) for p in judge.parameters}


def test_the_adversarial_loss_is_the_cost_of_unlabeled_images_passing_as_labeled() -> None:
    method = make("dan", 2, network={"dropout": (0.0,)}, ramp_kind="constant", **SMALL)
    result = look(method, BATCH)
    logits = method.network(torch.cat([BATCH.labeled.images, BATCH.unlabeled])).logits
    verdict = method.discriminator.eval()(logits[2:].softmax(1), BATCH.unlabeled)
    expected = 0.1 * F.cross_entropy(verdict, torch.tensor([1, 1]))
    assert figures(result)["adversarial"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert reaches(result.losses["adversarial"], method.network.encoder)
    assert not reaches(result.losses["supervised"], method.discriminator)


def test_the_discriminator_learns_from_predictions_without_gradient_made_in_eval_mode() -> None:
    method = make("dan", 2, **SMALL)
    buffers = [buffer.clone() for buffer in method.network.buffers()]
    result = look(method, BATCH, phase=1)
    assert set(result.losses) == {"discriminator"}
    assert not reaches(result.losses["discriminator"], method.network)
    assert reaches(result.losses["discriminator"], method.discriminator)
    assert all(torch.equal(a, b) for a, b in zip(buffers, method.network.buffers(), strict=True))
    assert all(part.training for part in method.modules())


def test_the_discriminator_learns_to_tell_streams_apart_that_differ() -> None:
    method = make("dan", 2, **SMALL)
    batch = BATCH._replace(unlabeled=BATCH.unlabeled + 3.0)
    phase = method.phases[1]
    optimizer = torch.optim.Adam(phase.parameters, 1e-2)
    losses = []
    for step in range(30):
        loss = look(method, batch, phase=1, seed=step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(2), abs=0.2)
    assert min(losses[-5:]) < 0.2


def test_without_weight_the_discriminator_has_no_say() -> None:
    updates = []
    for noise in (0.0, 1.0):
        method = make("dan", 2, consistency=0.0, **SMALL)
        with torch.no_grad():
            for parameter in method.discriminator.parameters():
                parameter.add_(noise * 0.1)
        assert all(value == value for value in values(Engine(method).train(BATCH)))
        updates.append(snapshot(method.network))
    assert torch.equal(*updates)
