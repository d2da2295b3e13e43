"""Freed memory is kept: a block taken again costs no new pages."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from paucis.engine.allocation import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(12_000_000)  # 48 MB
before = faults()
for _ in range(40):
    torch.ones(12_000_000)
print(kept, faults() - before)
"""


def run(how: str, **more: str) -> tuple[str, int]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, env=plain | more)
    assert done.returncode == 0, done.stderr
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked to keep what is freed")
def test_large_blocks_that_are_taken_again_cost_no_new_pages() -> None:
    _, plain = run("plain")
    kept, few = run("kept")
    assert kept == "True"
    assert 5 * few < plain  # a block is 11,700 pages of 4 KiB, or 23 of 2 MiB


def test_an_allocator_that_the_user_has_set_up_is_left_alone() -> None:
    assert run("kept", MALLOC_TRIM_THRESHOLD_="100000")[0] == "False"
