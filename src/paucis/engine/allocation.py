"""Memory that a training step frees stays with the process for the next step."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt
_MOST = 2**31 - 1  # bytes; mallopt takes an int
_TUNED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed blocks below 2 GiB instead of giving each back to the system; whether it agreed.

    A step on a CPU frees and takes the same large maps again and again. Those above 32 MiB, and what lies at the end
    of the heap, glibc returns at once, so that the system zeroes every page of them anew: a fifth of a V-Net's step.
    The process holds its peak for as long as it lives, which is what the next step needs. Does nothing on other
    systems, and where the user has set up the allocator in the environment.
    """
    if platform.system() != "Linux" or any(name in os.environ for name in _TUNED):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in musl
    return mallopt is not None and all(mallopt(name, _MOST) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
