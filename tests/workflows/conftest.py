"""A grid's runs done in this process, as their own would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paucis.engine.files import read_json, write_json
from paucis.workflows.benchmark import pool, worker


class InProcess:
    """Stands in for the process of a worker."""

    started: list[str]

    def __init__(self, command: list[str], **_: object) -> None:
        folder = Path(command[-1])
        job = read_json(folder / "job.json")
        write_json(folder / "job.json", {**job, "parent": os.getppid()})
        self.started.append(job["run"])
        self.code = worker.main([str(folder)])

    def poll(self) -> int:
        return self.code

    def wait(self) -> int:
        return self.code


@pytest.fixture(scope="module")
def started() -> Any:
    """Names of the runs that were started; they are done in this process."""
    with pytest.MonkeyPatch.context() as patch:
        kind = type("Here", (InProcess,), {"started": []})
        fake = SimpleNamespace(Popen=kind, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
        patch.setattr(pool, "subprocess", fake)
        patch.setattr(pool, "PATIENCE", 0)
        yield kind.started  # type: ignore[attr-defined]
