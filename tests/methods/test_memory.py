from __future__ import annotations

import socket
from collections import deque
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from paucis.batch import IGNORE
from paucis.losses.directions import unit
from paucis.methods.inst_disc import ImageBank
from paucis.methods.parts.memory import MemoryQueue, gathered, of_others
from paucis.methods.parts.prototypes import Prototypes

CLASSES, CAPACITY, DIM = 3, 5, 4
IMAGES = 7


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([0, 1, 2, IGNORE])[torch.randint(4, (count,), generator=generator)]
    return torch.randn(count, DIM, generator=generator), kinds


def queues() -> tuple[MemoryQueue, list[deque[Tensor]]]:
    return MemoryQueue(CLASSES, CAPACITY, DIM), [deque(maxlen=CAPACITY) for _ in range(CLASSES)]


def put(reference: list[deque[Tensor]], vectors: Tensor, kinds: Tensor) -> None:
    for vector, kind in zip(vectors, kinds.tolist(), strict=True):
        if kind != IGNORE:
            reference[kind].append(vector)


def same(queue: MemoryQueue, reference: list[deque[Tensor]]) -> bool:
    wanted = [torch.stack(list(own)) if own else torch.empty(0, DIM) for own in reference]
    return all(torch.equal(queue.rows(kind), rows) for kind, rows in enumerate(wanted))


@pytest.mark.parametrize("count", [0, 1, 4, 50])
def test_it_equals_a_deque_at_every_step_and_after_wrapping_around(count: int) -> None:
    queue, reference = queues()
    for seed in range(12):
        vectors, kinds = samples(count, seed)
        queue.add(vectors, kinds)
        put(reference, vectors, kinds)
        assert same(queue, reference)
        assert queue.filled.tolist() == [len(own) for own in reference]


def test_only_written_places_are_given_out() -> None:
    queue, reference = queues()
    queue.add(torch.ones(2, DIM), torch.tensor([2, IGNORE]))
    put(reference, torch.ones(2, DIM), torch.tensor([2, IGNORE]))
    vectors, kinds = queue.bank()
    assert kinds.ne(IGNORE).sum() == 1
    assert torch.equal(vectors[kinds == 2], torch.ones(1, DIM))
    for seed in range(9):
        given = samples(6, seed)
        queue.add(*given)
        put(reference, *given)
    vectors, kinds = queue.bank()
    for kind in range(CLASSES):
        held = {tuple(row.tolist()) for row in vectors[kinds == kind]}
        assert held == {tuple(row.tolist()) for row in reference[kind]}


def test_a_resumed_queue_goes_on_as_if_never_stopped() -> None:
    queue, reference = queues()
    for seed in range(4):
        given = samples(7, seed)
        queue.add(*given)
        put(reference, *given)
    resumed = MemoryQueue(CLASSES, CAPACITY, DIM)
    resumed.load_state_dict(queue.state_dict())
    given = samples(7, 9)
    resumed.add(*given)
    put(reference, *given)
    assert same(resumed, reference)


def test_what_is_added_is_a_copy_without_gradient_in_float32() -> None:
    queue, _ = queues()
    vectors = torch.randn(2, DIM, requires_grad=True)
    queue.add((2 * vectors).bfloat16(), torch.tensor([0, 1]))
    assert not queue.vectors.requires_grad
    assert queue.vectors.dtype == torch.float32
    before = queue.rows(0).clone()
    with torch.no_grad():
        vectors.zero_()
    assert torch.equal(queue.rows(0), before)


def test_one_process_gathers_nothing() -> None:
    tensor = torch.randn(3)
    assert gathered(tensor) is tensor


def share(step: int, rank: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, their classes and images of a step, of which each of two processes has a half; None gives all."""
    vectors, kinds = samples(6, 10 * step)
    numbers = (torch.arange(6) * (step + 2)) % IMAGES
    part = slice(None) if rank is None else slice(3 * rank, 3 * rank + 3)
    return vectors[part], kinds[part], numbers[part]


def _share(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    queue = MemoryQueue(CLASSES, CAPACITY, DIM)
    for step in range(4):
        vectors, kinds = samples(6, 10 * step + rank)
        queue.add(vectors, kinds)
    torch.save(queue.state_dict(), Path(folder) / f"{rank}.pt")
    prototypes, images = Prototypes(CLASSES, DIM), ImageBank(DIM)
    images.begin(IMAGES)
    for step in range(4):
        vectors, kinds, numbers = share(step, rank)
        prototypes.update(vectors, kinds)
        images.update(unit(vectors), numbers, 0.5)
    both = {"prototypes": prototypes.state_dict(), "images": images.state_dict()}
    torch.save(both, Path(folder) / f"statistics-{rank}.pt")
    vectors, kinds = samples(6, 30 + rank)
    torch.save(of_others(vectors, kinds.ne(IGNORE)), Path(folder) / f"others-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two real processes have remembered, each of its half of the samples."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(_share, (port, str(folder)), nprocs=2)
    return folder


def test_two_processes_have_the_prototypes_and_image_vectors_of_one_that_saw_all(two_processes: Path) -> None:
    prototypes, images = Prototypes(CLASSES, DIM), ImageBank(DIM)
    images.begin(IMAGES)
    for step in range(4):
        vectors, kinds, numbers = share(step)
        prototypes.update(vectors, kinds)
        images.update(unit(vectors), numbers, 0.5)
    alone = {"prototypes": prototypes.state_dict(), "images": images.state_dict()}
    for rank in range(2):
        found = torch.load(two_processes / f"statistics-{rank}.pt", weights_only=True)
        for room, buffers in alone.items():
            for name, values in buffers.items():
                torch.testing.assert_close(found[room][name], values, msg=lambda text, n=name: f"{n}: {text}")
    assert int(prototypes.counts.sum()) == sum(int(share(step)[1].ne(IGNORE).sum()) for step in range(4))


def test_two_processes_hold_the_samples_of_both_in_the_order_of_ranks(two_processes: Path) -> None:
    reference = queues()[1]
    for step in range(4):
        for rank in range(2):
            put(reference, *samples(6, 10 * step + rank))
    for rank in range(2):
        queue = queues()[0]
        queue.load_state_dict(torch.load(two_processes / f"{rank}.pt", weights_only=True))
        assert same(queue, reference)
        theirs, kinds = samples(6, 30 + 1 - rank)  # of the last step, in the other process
        others = torch.load(two_processes / f"others-{rank}.pt", weights_only=True)
        assert torch.equal(others, theirs[kinds.ne(IGNORE)])


def test_one_process_has_no_others() -> None:
    vectors, kinds = samples(6, 0)
    assert of_others(vectors, kinds.ne(IGNORE)) is None
