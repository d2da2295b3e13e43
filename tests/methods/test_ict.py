from __future__ import annotations

import pytest
import torch

from engine import PLAIN, TASKS, Seen, make, make_batch, step
from paucis.methods.base import Method

FIXED = {"ramp_kind": "constant", "network": PLAIN, "consistency": 1.0}


def with_shares(ndim: int, *shares: float, **options: object) -> Method:
    """A method whose mixing shares are known and whose teacher is another network than its student."""
    method = make("ict", ndim, **{**FIXED, **options})
    method._shares = lambda pairs, like: torch.tensor(shares[:pairs]).reshape(-1, *[1] * (ndim + 1))
    with torch.no_grad():
        method.teacher.update(method.student, 0)
        for parameter in method.teacher.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return method


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_prediction_of_a_mixture_is_held_to_the_mixture_of_the_teachers_predictions(ndim: int) -> None:
    batch, shares = make_batch(TASKS[ndim], unlabeled=4), (0.3, 0.9)
    method = with_shares(ndim, *shares)
    seen = Seen(method.student)
    loss = step(method, batch).losses["consistency"]
    teacher = method.teacher(batch.unlabeled).logits.softmax(1)
    total, count = 0.0, 0
    for pair, share in enumerate(shares):
        mixed = (1 - share) * batch.unlabeled[pair] + share * batch.unlabeled[pair + 2]
        assert torch.allclose(seen.images[0][2 + pair], mixed, atol=1e-6)
        target = (1 - share) * teacher[pair] + share * teacher[pair + 2]
        valid = batch.valid[pair] & batch.valid[pair + 2]
        p = method.student(mixed.unsqueeze(0)).logits.softmax(1)[0]
        total += float((p - target).square().sum(0)[valid].sum().detach())
        count += 4 * int(valid.sum())
    assert float(loss.detach()) == pytest.approx(total / count, rel=1e-4)
    assert len(seen.images[0]) == 4  # two labeled, two mixed


def test_taking_out_the_mixture_changes_the_loss() -> None:
    batch = make_batch(TASKS[2])
    mixed, plain = (step(with_shares(2, share), batch).losses["consistency"].detach() for share in (0.5, 0.0))
    method = with_shares(2, 0.0)
    p = method.student(batch.unlabeled[:1]).logits.softmax(1)
    q = method.teacher(batch.unlabeled[:1]).logits.softmax(1)
    valid = batch.valid[:1] & batch.valid[1:]
    assert float(plain) == pytest.approx(float((p - q).square().mean(1)[valid].mean().detach()), rel=1e-4)
    assert abs(float(mixed - plain)) > 0.01 * float(plain)


def test_a_voxel_counts_where_both_images_are_valid() -> None:
    batch = make_batch(TASKS[2])
    batch.valid[1] = False
    assert float(step(with_shares(2, 0.5), batch).losses["consistency"].detach()) == 0.0


def test_shares_are_drawn_per_pair_from_a_distribution_that_prefers_the_ends() -> None:
    torch.manual_seed(0)
    shares = make("ict", 2)._shares(2000, torch.zeros(1, 1, 2, 2)).flatten()
    assert shares.shape == (2000,)
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    ends = ((shares < 0.1) | (shares > 0.9)).float().mean()
    assert 0.6 < float(ends) < 0.75  # 0.67 for Beta(0.2, 0.2), 0.2 if spread evenly


@pytest.mark.parametrize("unlabeled", [1, 3])
def test_odd_batches_pair_all_images(unlabeled: int) -> None:
    method = with_shares(2, 0.5, 0.5)
    seen = Seen(method.student)
    result = step(method, make_batch(TASKS[2], unlabeled=unlabeled))
    assert torch.isfinite(result.total)
    assert len(seen.images[0]) == 2 + (unlabeled + 1) // 2
