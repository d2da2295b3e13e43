from __future__ import annotations

import pytest
import torch
from probes import figures, look, reaches, snapshot
from torch.nn import functional as F

from engine import LATE, TASKS, TOTAL, Engine, make, make_batch
from paucis.batch import IGNORE
from paucis.losses.signed_distance import signed_distance
from paucis.methods.base import Clock

BATCH = make_batch(TASKS[2])
SMALL = {"discriminator_features": 4}


def test_each_phase_moves_its_own_side_and_leaves_the_other_alone() -> None:
    method = make("sassnet", 2, **SMALL)
    engine = Engine(method)
    for number, expected in enumerate([(True, True, False), (False, False, True)]):
        parts = method.network, method.head, method.discriminator
        before = [snapshot(part) for part in parts]
        engine._phase(BATCH, Clock(LATE, TOTAL), number)
        moved = tuple(not torch.equal(a, snapshot(part)) for a, part in zip(before, parts, strict=True))
        assert moved == expected


@torch.no_grad()
def test_the_distance_loss_compares_one_map_per_foreground_class_on_labeled_voxels() -> None:
    method = make("sassnet", 2, network={"dropout": (0.0,)}, **SMALL)
    result = look(method, BATCH)
    maps = method.head(method.network(torch.cat([BATCH.labeled.images, BATCH.unlabeled])))
    assert maps.shape == (4, 3, 32, 24)
    assert float(maps.detach().abs().max()) <= 1
    labels = BATCH.labeled.labels
    difference = (maps[:2] - signed_distance(labels, 4)).square().mean(1)
    expected = 0.3 * float(difference[labels.ne(IGNORE)].mean())
    assert figures(result)["distance"] == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_the_discriminator_judges_the_maps_of_unlabeled_images() -> None:
    method = make("sassnet", 2, network={"dropout": (0.0,)}, ramp_kind="constant", **SMALL)
    result = look(method, BATCH)
    maps = method.head(method.network(torch.cat([BATCH.labeled.images, BATCH.unlabeled])))
    verdict = method.discriminator.eval()(maps[2:], BATCH.unlabeled)
    expected = 0.01 * F.cross_entropy(verdict, torch.tensor([1, 1]))
    assert figures(result)["adversarial"] == pytest.approx(float(expected), rel=1e-5)


def test_gradients_reach_what_each_loss_is_about() -> None:
    method = make("sassnet", 2, **SMALL)
    losses = look(method, BATCH).losses
    assert not reaches(losses["supervised"], method.head)
    assert not reaches(losses["distance"], method.network.decoder.head)
    assert reaches(losses["distance"], method.head)
    assert reaches(losses["adversarial"], method.head)
    assert not reaches(losses["adversarial"], method.network.decoder.head)
    judged = look(method, BATCH, phase=1).losses["discriminator"]
    assert not reaches(judged, method.network, method.head)
    assert reaches(judged, method.discriminator)


def test_taking_out_the_distance_head_or_the_discriminator_takes_out_its_loss_alone() -> None:
    whole = figures(look(make("sassnet", 2, **SMALL), BATCH))
    for option, name in (("distance", "distance"), ("consistency", "adversarial")):
        partial = figures(look(make("sassnet", 2, **{option: 0.0}, **SMALL), BATCH))
        assert partial.pop(name) == 0.0
        assert whole[name] > 0
        assert partial == pytest.approx({key: value for key, value in whole.items() if key != name})


@torch.no_grad()
def test_an_absent_class_is_far_away_or_as_published_everywhere_boundary() -> None:
    labels = torch.zeros_like(BATCH.labeled.labels)
    batch = BATCH._replace(labeled=BATCH.labeled._replace(labels=labels))
    for absent, target in (("far", 1.0), ("zero", 0.0)):
        method = make("sassnet", 2, network={"dropout": (0.0,)}, absent=absent, **SMALL)
        result = look(method, batch)
        maps = method.head(method.network(torch.cat([batch.labeled.images, batch.unlabeled])))
        expected = 0.3 * float((maps[:2] - target).square().mean())
        assert figures(result)["distance"] == pytest.approx(expected, rel=1e-4)
