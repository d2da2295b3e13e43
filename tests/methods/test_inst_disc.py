"""InstDisc: the vectors that are kept of the images, and what they are told apart by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine import Engine, builder
from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.info_nce import instance_discrimination
from paucis.methods import inst_disc as room
from paucis.methods.base import Clock, Phase
from paucis.methods.inst_disc import ImageBank, InstDisc, InstDiscOptions

TASK = Task(2, 1, 4, (16, 16), (1.0, 1.0))
STILL = dict.fromkeys(("rotation", "scale", "translation", "brightness", "contrast", "blur"), 0.0)


def method(**options: Any) -> InstDisc:
    torch.manual_seed(0)
    return InstDisc(builder(TASK, dropout=(0.0,)), TASK, InstDiscOptions(**{"dim": 8, **STILL, **options}))


def batch(numbers: list[int], total: int) -> Batch:
    every = torch.randn(total, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batch(unlabeled=every[numbers], numbers=torch.tensor(numbers), total=total)


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_a_vector_moves_to_the_mean_of_what_its_image_was_seen_as() -> None:
    bank, arrived = ImageBank(4), vectors(3, 4)
    bank.begin(5)
    before = bank.vectors.clone()
    bank.update(arrived, torch.tensor([2, 0, 2]), 0.5)
    for number, seen in ((2, (arrived[0] + arrived[2]) / 2), (0, arrived[1])):
        assert torch.allclose(bank.vectors[number], normalize(0.5 * before[number] + 0.5 * seen, dim=0), atol=1e-6)
    assert torch.equal(bank.vectors[[1, 3, 4]], before[[1, 3, 4]])
    bank.update(arrived[:1], torch.tensor([1]), 0.0)
    assert torch.allclose(bank.vectors[1], arrived[0], atol=1e-6)


def test_a_bank_holds_what_all_processes_have_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, numbers, alone, shared = vectors(4, 4), torch.tensor([0, 3, 3, 1]), ImageBank(4), ImageBank(4)
    for bank in (alone, shared):
        bank.begin(5)
    alone.update(arrived, numbers, 0.5)
    both = {torch.float32: arrived, torch.int64: numbers}
    monkeypatch.setattr(room, "gathered", lambda mine: both[mine.dtype])
    shared.update(arrived[:2], numbers[:2], 0.5)
    assert torch.equal(shared.vectors, alone.vectors)


@pytest.mark.parametrize("total", [2, 7, 5000])
def test_there_is_room_for_any_number_of_images_and_it_begins_the_same_everywhere(total: int) -> None:
    one, two = ImageBank(8), ImageBank(8)
    for bank in (one, two):
        torch.manual_seed(total)
        bank.begin(total)
        bank.begin(total)
    assert torch.equal(one.vectors, two.vectors)
    assert torch.allclose(one.vectors.norm(dim=1), torch.ones(total), atol=1e-5)
    assert one.vectors.unique(dim=0).shape[0] == total
    taken = ImageBank(8)
    taken.load_state_dict(one.state_dict())
    assert torch.equal(taken.vectors, one.vectors)


def test_a_single_image_and_another_number_than_before_are_refused() -> None:
    bank = ImageBank(4)
    with pytest.raises(PaucisError, match="there is only one: add images"):
        bank.begin(1)
    bank.begin(3)
    with pytest.raises(PaucisError, match="began with 3 images and has 4 now"):
        bank.begin(4)


def test_the_loss_is_over_all_images_of_the_run_and_not_those_of_the_batch() -> None:
    one, seen = method(), batch([3, 1], 6)
    one.eval()  # batch statistics would couple the images
    result = one.step(seen, Clock(0, 1), Phase("main", []))
    assert one.bank.vectors.shape == (6, 8)
    expected = instance_discrimination(one.encoded(seen.unlabeled), one.bank.vectors, seen.numbers, 0.07)
    assert torch.allclose(result.losses["instance"], expected, rtol=1e-4)
    before = one.bank.vectors.clone()
    one.after_step(Clock(0, 1), result)
    moved = (one.bank.vectors != before).any(1)
    assert moved.tolist() == [False, True, False, True, False, False]
    assert not one.bank.vectors.requires_grad


def test_images_become_known_by_their_vectors() -> None:
    one = method(momentum=0.5, temperature=0.2)
    engine = Engine(one)
    engine.optimizers = [torch.optim.Adam([p for p in one.parameters() if p.requires_grad], 3e-3)]
    first = engine.train(batch([0, 1, 2, 3], 4))[0][0].losses["instance"]
    engine.train(*[batch([0, 1, 2, 3], 4)] * 25)
    last = engine.train(batch([0, 1, 2, 3], 4))[0][0].losses["instance"]
    assert float(last.detach()) < 0.7 * float(first.detach())
