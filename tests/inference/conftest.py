"""One thread: tests share the machine."""

from __future__ import annotations

import pytest
import torch

from paucis.batch import Task


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def task3() -> Task:
    return Task(3, 1, 3, (8, 12, 10), flips=(0, 2))
