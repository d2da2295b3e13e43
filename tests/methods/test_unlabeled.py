from __future__ import annotations

import math

import torch

from engine import TASKS, make_batch, make_setting
from paucis.batch import IGNORE
from paucis.methods.base import Clock
from paucis.methods.parts.unlabeled import ConsistencyOptions, cannot_mix, parts, risen, valid_unlabeled, valid_voxels


def test_labeled_voxels_are_valid_where_they_are_not_ignored_and_unlabeled_ones_as_the_batch_says() -> None:
    batch = make_batch(TASKS[2])
    valid = valid_voxels(batch)
    assert torch.equal(valid[:2], batch.labeled.labels != IGNORE)
    assert torch.equal(valid[2:], batch.valid)
    assert valid_unlabeled(batch._replace(valid=None)).all()
    assert parts(batch) == (batch.labeled, batch.unlabeled)


def test_the_weight_rises_to_its_largest_over_its_share_of_the_training() -> None:
    options = ConsistencyOptions(consistency=0.2, ramp=0.5, start=0.25)
    assert risen(options, Clock(24, 100)) == 0.0
    assert math.isclose(risen(options, Clock(50, 100)), 0.2 * math.exp(-5 * 0.25))
    assert risen(options, Clock(80, 100)) == 0.2


def test_one_unlabeled_image_cannot_be_mixed() -> None:
    assert cannot_mix("ict", make_setting(TASKS[2])) == []
    (line,) = cannot_mix("ict", make_setting(TASKS[2], unlabeled_batch_size=1))
    assert "train.unlabeled_batch_size" in line
