from __future__ import annotations

import pytest
import torch
from probes import figures, look, reaches

from engine import TASKS, make, make_batch
from paucis.batch import IGNORE
from paucis.methods.dtc import occupied

BATCH = make_batch(TASKS[2])
PLAIN = {"dropout": (0.0,)}


def test_distances_become_probabilities_by_a_steep_sigmoid() -> None:
    maps = torch.tensor([-1.0, -0.002, 0.0, 0.002, 1.0])
    assert occupied(maps).tolist() == pytest.approx([1.0, 0.952574, 0.5, 0.047426, 0.0], abs=1e-5)
    assert float(occupied(torch.tensor([0.1]), 10.0)) == pytest.approx(1 / (1 + 2.718282), rel=1e-5)
    assert occupied(maps.bfloat16()).dtype == torch.float32


@torch.no_grad()
def test_the_consistency_compares_both_tasks_on_every_foreground_class_and_all_valid_voxels() -> None:
    method = make("dtc", 2, network=PLAIN, ramp_kind="constant", steepness=20.0)
    features = method.network(torch.cat([BATCH.labeled.images, BATCH.unlabeled]))
    implied = (-20.0 * method.head(features)).sigmoid()
    difference = (implied - features.logits.softmax(1)[:, 1:]).square().mean(1)
    valid = torch.cat([BATCH.labeled.labels.ne(IGNORE), BATCH.valid])
    assert figures(look(method, BATCH))["consistency"] == pytest.approx(float(difference[valid].mean()), rel=1e-4)
    method = make("dtc", 2, network=PLAIN, ramp_kind="constant", steepness=20.0, consistency_on="unlabeled")
    expected = float(difference[2:][BATCH.valid].mean())
    assert figures(look(method, BATCH))["consistency"] == pytest.approx(expected, rel=1e-4)


def test_both_sides_of_the_consistency_learn() -> None:
    method = make("dtc", 2, steepness=20.0)
    losses = look(method, BATCH).losses
    assert reaches(losses["consistency"], method.head)
    assert reaches(losses["consistency"], method.network.decoder.head)
    assert not reaches(losses["supervised"], method.head)
    assert reaches(losses["distance"], method.head)
    assert not reaches(losses["distance"], method.network.decoder.head)


@pytest.mark.parametrize(("option", "name"), [("distance", "distance"), ("consistency", "consistency")])
def test_taking_out_a_part_takes_out_its_loss_alone(option: str, name: str) -> None:
    whole = figures(look(make("dtc", 2), BATCH))
    partial = figures(look(make("dtc", 2, **{option: 0.0}), BATCH))
    assert partial.pop(name) == 0.0
    assert whole[name] > 0
    assert partial == pytest.approx({key: value for key, value in whole.items() if key != name})


def test_the_segmentation_and_not_the_distance_map_is_reported() -> None:
    method = make("dtc", 3).eval()
    images = make_batch(TASKS[3]).unlabeled
    before = method.predict(images).additive["probabilities"]
    with torch.no_grad():
        method.head.head.weight.add_(1.0)
    after = method.predict(images).additive["probabilities"]
    assert torch.equal(before, after)
    assert torch.allclose(after.sum(1), torch.ones(2, 16, 8, 12), atol=1e-5)
