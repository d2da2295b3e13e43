"""The same work for many cases, on several processes."""

from __future__ import annotations

import logging
import os
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
_WORTH = 10.0  # seconds of work that are worth starting processes for


def over(work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None) -> Iterator[Result]:
    """``work`` done for every item, in order.

    Processes are started afresh and do not import the caller's script, which need not be guarded against that. When one
    is killed, the rest is done in this process.

    Args:
        work: a function that can be pickled; what it raises is raised here.
        items: its arguments.
        workers: processes; 0 does all in this one. None starts here, and takes one process for each CPU, eight at
            most, as soon as more than a few seconds of work are left.
    """
    done, started = 0, time.monotonic()
    while workers is None and done < len(items):
        yield work(items[done])
        done += 1
        if (time.monotonic() - started) / done * (len(items) - done) > _WORTH and _cpus() > 1:
            workers = min(_cpus(), 8)
    if workers and len(items) - done > 1:
        pool = ProcessPoolExecutor(min(workers, len(items) - done), get_context("spawn"))
        try:
            with _without_main():
                jobs = [pool.submit(work, item) for item in items[done:]]
            for job in jobs:
                result = job.result()
                done += 1
                yield result
        except BrokenProcessPool:
            _LOG.warning("a process was killed (lack of memory?); going on without processes")
        finally:
            pool.shutdown(cancel_futures=True)
    for item in items[done:]:
        yield work(item)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _without_main() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
