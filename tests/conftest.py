"""Fixtures that several rooms share: a phantom dataset, the real data where it is, and a cache of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

# A suite started in the background inherits an interrupt that is ignored, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset in the layout of the Decathlon: 5 labeled, 3 unlabeled and 2 test cases of 15x21x24 voxels."""
    from paucis.workflows.phantom import write_phantoms

    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, cases=8, labeled=5, test=2, size=24, seed=0)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans; the test is skipped where it is not set."""
    folder = os.environ.get("PAUCIS_TEST_DATA")
    if not folder:
        pytest.skip("PAUCIS_TEST_DATA is not set: no real scans here")
    return Path(folder)
