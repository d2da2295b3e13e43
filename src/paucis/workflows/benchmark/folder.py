"""The folder of a grid: who works in it, and the folder of each run."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from os import getpid
from pathlib import Path
from typing import Any

from paucis.data.groups import group_of
from paucis.engine.config import Config
from paucis.engine.files import read_json, write_json
from paucis.engine.runs import RunFolder
from paucis.errors import PaucisError
from paucis.workflows.benchmark.choosing import asked
from paucis.workflows.benchmark.ground import Prepared
from paucis.workflows.benchmark.pool import Slot
from paucis.workflows.benchmark.suite import Suite

MARK = "suite.json"
FEW = 4
"""Scans to choose from in a run that is only measured."""


@contextmanager
def claimed(out: Path, suite: Suite, record: Mapping[str, Any]) -> Iterator[int]:
    """The folder for one process at a time; yields the descriptor that holds it.

    Raises:
        PaucisError: it holds something else, another suite's results, or another process works in it.
    """
    if out.exists() and not out.is_dir():
        raise PaucisError(f"{out}: is a file; --out needs a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise PaucisError(f"{out}: is not empty and holds no benchmark: choose another --out")
    if (out / MARK).is_file() and (other := read_json(out / MARK).get("suite")) != suite.name:
        raise PaucisError(f"{out}: holds results of the suite '{other}', not of '{suite.name}': choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PaucisError(f"{out}: another benchmark works there: wait for it, or choose another --out") from None
        write_json(out / MARK, {"suite": suite.name, "description": suite.description, **record})
        yield lock.fileno()


class RunPlace:
    """The folder of one run.

    ``job.json`` what its process is told; ``scans.json`` the scans it predicts; ``pool.json`` the labeled scans and
    those that it may choose to label next; ``training/`` the run folder of the training; ``log.txt``; ``result.json``
    when it is over; ``evaluation/`` tables and a sheet.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.result_file = path / "result.json"

    @property
    def begun(self) -> bool:
        """Whether a training has been started here."""
        return (self.path / "training" / "config.json").is_file()

    def clear(self) -> None:
        """Removes what an earlier attempt left."""
        shutil.rmtree(self.path, ignore_errors=True)

    def result(self) -> dict[str, Any] | None:
        """What the process reported; None while it has not."""
        return read_json(self.result_file) if self.result_file.is_file() else None

    def fill(self, run: Prepared, suite: Suite, slot: Slot, *, keep: bool, config: Config, cases: int | None) -> Path:
        """Writes what a worker needs. A training that was begun is gone on with.

        Args:
            run: what is to be done.
            suite: whose evaluation counts.
            slot: where it is done.
            keep: leave weights and masks.
            config: of the training; its plan and split are those of ``run``.
            cases: how many cases to predict and measure; None for all.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.result_file.unlink(missing_ok=True)
        evaluated = run.evaluated[:cases]
        scans = [{"name": case.name, "image": [str(file.absolute()) for file in case.images]} for case in evaluated]
        write_json(self.path / "scans.json", {"cases": scans})
        literature = ["literature"] if suite.evaluation.convention == "literature" else []
        write_json(
            self.path / "job.json",
            {
                "run": str(run.job),
                "parent": getpid(),
                "cores": list(slot.cores),
                "cases": [case.name for case in evaluated],
                "weights": run.weights,
                "predict": suite.predict,
                "conventions": ["strict", *literature],
                "tolerance_mm": suite.evaluation.tolerance_mm,
                "keep": keep,
                "suggest": self._choice(run, suite, few=cases is not None),
            },
        )
        if not self.begun:
            shutil.rmtree(self.path / "training", ignore_errors=True)
            folder = RunFolder(self.path / "training")
            folder.path.mkdir()
            run.plan.save(folder.plan_file)
            run.split.save(folder.split_file)
            write_json(folder.config_file, asdict(config))
        return self.path

    def _choice(self, run: Prepared, suite: Suite, *, few: bool) -> dict[str, Any] | None:
        """What the run is to choose once it is trained, with the scans it chooses from beside ``job.json``.

        ``few``: one of ``FEW`` scans, to see how long that takes.
        """
        choice = asked(run, suite.rounds) if suite.rounds is not None else None
        if choice is not None:
            scans = [
                {"name": case.name, "image": [str(file.absolute()) for file in case.images], "patient": group_of(case)}
                for case in (*run.labeled, *(run.pool[:FEW] if few else run.pool))
            ]
            write_json(self.path / "pool.json", {"cases": scans})
        return {**choice, "count": 1} if choice is not None and few else choice
