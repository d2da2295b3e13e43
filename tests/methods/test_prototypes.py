from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.methods.parts import prototypes as room
from paucis.methods.parts.prototypes import Prototypes


def batches(number: int = 5, dim: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(number):
        size = 7 + 5 * index
        labels = torch.randint(0, 3, (size,), generator=generator)
        labels[::4] = IGNORE
        labels[labels == 2] = 1 if index < 3 else 2  # class 2 comes late
        found.append((100 + labels.clamp(max=9)[:, None] * torch.randn(size, dim, generator=generator), labels))
    return found


def two_pass(parts: list[tuple[Tensor, Tensor]], label: int) -> tuple[Tensor, Tensor]:
    mine = torch.cat([vectors[labels == label] for vectors, labels in parts]).double()
    return mine.mean(0), torch.cov(mine.T, correction=0)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_merging_batches_equals_two_passes_over_all(covariance: str) -> None:
    running = Prototypes(4, 3, covariance)
    parts = batches()
    for vectors, labels in parts:
        running.update(vectors, labels)
    for label in range(3):
        mean, full = two_pass(parts, label)
        expected = full.diagonal() if covariance == "diagonal" else full
        assert torch.allclose(running.means[label], mean, rtol=1e-12)
        assert torch.allclose(running.variances[label], expected, atol=1e-10)
    assert running.seen.tolist() == [True, True, True, False]
    assert int(running.counts.sum()) == sum(int(labels.ne(IGNORE).sum()) for _, labels in parts)


def test_the_order_of_batches_is_of_no_account_and_an_absent_class_stays_0() -> None:
    forth, back = Prototypes(4, 3), Prototypes(4, 3)
    for vectors, labels in batches():
        forth.update(vectors, labels)
    for vectors, labels in reversed(batches()):
        back.update(vectors, labels)
    assert torch.allclose(forth.variances, back.variances)
    assert torch.allclose(forth.means, back.means)
    assert float(forth.means[3].abs().sum() + forth.variances[3].abs().sum()) == 0


def test_one_voxel_has_no_variance_and_an_empty_batch_changes_nothing() -> None:
    running = Prototypes(2, 3)
    running.update(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]))
    running.update(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    running.update(torch.ones(2, 3), torch.tensor([IGNORE, IGNORE]))
    assert running.means[1].tolist() == [1, 2, 3]
    assert float(running.variances.abs().sum()) == 0
    assert running.counts.tolist() == [0, 1]


def test_every_process_merges_what_all_have_seen(monkeypatch) -> None:
    """Two ranks, each with half the batches, end where one with all of them ends."""
    parts = batches(4)
    alone = Prototypes(3, 3)
    for vectors, labels in parts:
        alone.update(vectors, labels)
    shared, other = Prototypes(3, 3), iter(parts[1::2])
    waiting: list[Tensor] = []

    def gathered(mine: Tensor) -> Tensor:
        if not waiting:
            waiting.extend(part.unsqueeze(0) for part in shared.measure(*next(other)))
        return torch.cat([mine, waiting.pop(0)])

    monkeypatch.setattr(room, "gathered", gathered)
    for vectors, labels in parts[::2]:
        shared.update(vectors, labels)
    assert torch.allclose(shared.means, alone.means)
    assert torch.allclose(shared.variances, alone.variances)
    assert torch.equal(shared.counts, alone.counts)


def test_statistics_are_saved_and_gone_on_from() -> None:
    whole, first, second = (Prototypes(3, 3) for _ in range(3))
    parts = batches()
    for vectors, labels in parts:
        whole.update(vectors, labels)
    for vectors, labels in parts[:2]:
        first.update(vectors, labels)
    second.load_state_dict(first.state_dict())
    for vectors, labels in parts[2:]:
        second.update(vectors, labels)
    assert torch.equal(second.variances, whole.variances)
