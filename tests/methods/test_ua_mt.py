from __future__ import annotations

import math

import pytest
import torch

from engine import PLAIN, TASKS, TOTAL, Seen, make, make_batch, step
from paucis.methods.base import Clock, Method

FIXED = {"ramp_kind": "constant", "noise": 0.0, "network": PLAIN, "consistency": 1.0}


def moved(ndim: int, **options: object) -> Method:
    """A method whose teacher is another network than its student."""
    method = make("ua_mt", ndim, **{**FIXED, **options})
    with torch.no_grad():
        method.teacher.update(method.student, 0)
        for parameter in method.teacher.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return method


@pytest.mark.parametrize("ndim", [2, 3])
def test_only_voxels_of_low_entropy_count(ndim: int) -> None:
    batch = make_batch(TASKS[ndim])
    q = moved(ndim, passes=3).teacher(batch.unlabeled).logits.detach().softmax(1)
    middle = float(torch.special.entr(q).sum(1)[batch.valid].median())
    method = moved(ndim, threshold_start=1.0, largest_entropy=middle + 1e-4, passes=3)
    p = method.student(batch.unlabeled).logits.softmax(1)
    q = method.teacher(batch.unlabeled).logits.softmax(1)  # all passes alike: no noise, no dropout
    total, count = 0.0, 0
    limit = method.threshold(Clock(50, TOTAL))
    for where in batch.valid.nonzero().tolist():
        target = q[(where[0], slice(None), *where[1:])]
        if -sum(value * math.log(value) for value in target.tolist() if value > 0) < limit:
            total += float((p[(where[0], slice(None), *where[1:])] - target).square().sum().detach())
            count += 1
    assert 0.05 < count / int(batch.valid.sum()) < 0.95
    result = step(method, batch, 50)
    assert float(result.losses["consistency"].detach()) == pytest.approx(total / (4 * count), rel=1e-3)
    assert float(result.monitors["sure"]) == pytest.approx(count / int(batch.valid.sum()))


def test_the_threshold_rises_from_three_quarters_of_ln_c_to_all_of_it() -> None:
    method = make("ua_mt", 2)
    low = 0.75 + 0.25 * math.exp(-5)
    assert method.threshold(Clock(0, 10)) == pytest.approx(low * math.log(4))
    assert method.threshold(Clock(10, 10)) == pytest.approx(math.log(4))
    assert make("ua_mt", 2, largest_entropy=math.log(2)).threshold(Clock(10, 10)) == pytest.approx(math.log(2))


def test_without_the_threshold_the_loss_is_that_of_mean_teacher_and_where_nothing_is_sure_it_is_zero() -> None:
    batch, losses = make_batch(TASKS[2]), {}
    for name, options in {
        "none": {"threshold_start": 1.0, "largest_entropy": 9.0},
        "some": {"threshold_start": 0.6},
        "all": {"largest_entropy": 0.0},
        "divisor": {"threshold_start": 1.0, "largest_entropy": 9.0, "divisor": 2.0},
    }.items():
        losses[name] = float(step(moved(2, **options), batch, 50).losses["consistency"].detach())
    mean_teacher = make("mean_teacher", 2, **FIXED)
    mean_teacher.load_state_dict(moved(2).state_dict())
    assert losses["none"] == pytest.approx(float(step(mean_teacher, batch).losses["consistency"].detach()), rel=1e-5)
    assert abs(losses["some"] - losses["none"]) > 0.01 * losses["none"]
    assert losses["all"] == 0.0
    assert losses["divisor"] == pytest.approx(2 * losses["none"], rel=1e-5)  # of four classes


def test_the_teacher_makes_eight_noisy_passes_and_one_more() -> None:
    method, batch = make("ua_mt", 2), make_batch(TASKS[2])
    seen = Seen(method.teacher.network)
    step(method, batch)
    assert [len(images) for images in seen.images] == [2, 4, 4, 4, 4]
    passes = torch.cat(seen.images[1:]).reshape(8, *batch.unlabeled.shape)
    assert len(torch.unique(passes, dim=0)) == 8
    assert float((passes - batch.unlabeled).abs().max()) <= 0.2 + 1e-6


def test_passes_decide_with_their_mean_and_not_one_by_one() -> None:
    batch = make_batch(TASKS[2])
    sure = {}
    for passes in (1, 8):
        method = moved(2, network={"normalization": "none", "dropout": (0.5,)}, passes=passes, threshold_start=0.6)
        sure[passes] = float(step(method, batch, 50).monitors["sure"])
    assert sure[8] < sure[1]  # the mean of passes that differ is less sure
