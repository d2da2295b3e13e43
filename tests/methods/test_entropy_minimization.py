from __future__ import annotations

import math

import pytest
import torch

from engine import PLAIN, TASKS, Engine, make, make_batch, step
from paucis.batch import IGNORE


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_loss_is_the_entropy_of_valid_unlabeled_voxels_as_a_share_of_ln_c(ndim: int) -> None:
    method, batch = make("entropy_minimization", ndim, network=PLAIN, ramp_kind="constant"), make_batch(TASKS[ndim])
    p = method.network(batch.unlabeled).logits.softmax(1)
    entropy = -(p * p.log()).sum(1)[batch.valid].mean() / math.log(4)
    assert float(step(method, batch).losses["entropy"].detach()) == pytest.approx(
        0.1 * float(entropy.detach()), rel=1e-4
    )


def test_labeled_images_count_too_where_asked() -> None:
    batch = make_batch(TASKS[2])
    method = make("entropy_minimization", 2, network=PLAIN, ramp_kind="constant", entropy_on="all", consistency=1.0)
    p = method.network(torch.cat([batch.labeled.images, batch.unlabeled])).logits.softmax(1)
    valid = torch.cat([batch.labeled.labels != IGNORE, batch.valid])
    expected = -(p * p.log()).sum(1)[valid].mean() / math.log(4)
    assert float(step(method, batch).losses["entropy"].detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_training_with_it_makes_unlabeled_images_surer_than_without() -> None:
    ends = []
    for consistency in (0.0, 20.0):
        method = make("entropy_minimization", 2, consistency=consistency, ramp_kind="constant")
        results = Engine(method).train(*(make_batch(TASKS[2], seed) for seed in range(8)))
        ends.append(float(results[-1][0].monitors["mean_entropy"]))
    assert ends[1] < ends[0] - 0.02
