"""Starting worker processes from whatever script the user wrote."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import blosc2
import torch


@contextmanager
def without_main() -> Iterator[None]:
    """Processes spawned within do not run the caller's script again, which need not be guarded by ``if __name__``."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def single_threaded(worker: int = 0) -> None:
    """First call in a worker process: the processes share the cores, so each computes in one thread."""
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
