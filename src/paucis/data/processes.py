"""The same work for many items in processes of their own, from whatever script the user wrote."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def spawned(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    start: Callable[[], object] | None = None,
) -> Iterator[list[Future[Result]]]:
    """The futures of ``work`` on every item, in their order; what has not begun when the block is left is dropped.

    Processes start afresh and do not run the caller's script again, which need not be guarded by ``if __name__``.

    Args:
        work: a function that can be pickled.
        items: its arguments.
        workers: processes, at most one for each item.
        start: first call in every process.

    Raises:
        concurrent.futures.process.BrokenProcessPool: by a future whose process was killed, most often for want of
            memory.
    """
    pool = ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), initializer=start)
    try:
        with _without_main():
            futures = [pool.submit(work, item) for item in items]
        yield futures
    finally:
        pool.shutdown(cancel_futures=True)


def single_threaded(worker: int = 0) -> None:
    """First call in a process that prepares or loads cases: processes share the cores, so each uses one thread."""
    import blosc2
    import torch

    torch.set_num_threads(1)
    blosc2.set_nthreads(1)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _without_main() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
