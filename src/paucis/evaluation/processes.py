"""The same work for many cases, on several processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from paucis.data.processes import Item, Result, cores, spawned

_LOG = logging.getLogger(__name__)
_WORTH = 10.0  # seconds of work that are worth starting processes for


def over(work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None) -> Iterator[Result]:
    """``work`` done for every item, in order.

    When a process is killed, the rest is done in this one.

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
        if (time.monotonic() - started) / done * (len(items) - done) > _WORTH and cores() > 1:
            workers = min(cores(), 8)
    if workers and len(items) - done > 1:
        try:
            with spawned(work, items[done:], workers) as jobs:
                for job in jobs:
                    result = job.result()
                    done += 1
                    yield result
        except BrokenProcessPool:
            _LOG.warning("a process was killed (lack of memory?); going on without processes")
    for item in items[done:]:
        yield work(item)
