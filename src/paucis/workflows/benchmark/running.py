"""``benchmark``: does the runs of a suite that have no figures yet, and writes the tables."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from paucis.errors import PaucisError
from paucis.workflows.benchmark.choosing import planned
from paucis.workflows.benchmark.folder import RunPlace, claimed
from paucis.workflows.benchmark.grid import chosen, expand
from paucis.workflows.benchmark.ground import Ground, Prepared
from paucis.workflows.benchmark.pool import Ended, Pool, Slot, check_jobs, slots
from paucis.workflows.benchmark.report import write_report
from paucis.workflows.benchmark.results import Results
from paucis.workflows.benchmark.suite import Suite, find

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Hooks:
    """How a caller follows a grid; all may stay None. ``progress`` gets (what, done, of all)."""

    tell: Tell | None = None
    progress: Callable[[str, int, int], None] | None = None

    def say(self, line: str) -> None:
        """Tells one line where somebody listens."""
        if self.tell:
            self.tell(line)


@dataclass(frozen=True)
class Benchmarked:
    """What a grid came to.

    Attributes:
        out: its folder.
        runs: how many the suite has.
        finished: runs with figures.
        failed: error by run, as text.
        refused: why a method cannot work in its setting, by row.
        left: runs without figures that neither failed nor were refused.
        stopped: it was ended by Ctrl-C.
        written: files with tables and the picture.
    """

    out: Path
    runs: int
    finished: int
    failed: dict[str, str]
    refused: dict[str, str]
    left: int
    stopped: bool
    written: tuple[Path, ...]


@dataclass
class Grid:
    """A suite on a dataset in a folder, looked at and ready to run.

    Attributes:
        suite: the suite.
        out: folder of the results.
        runs: all of them, in the order in which they are done.
        only: entries to work on.
        results: rows so far.
        held: descriptor of the folder's lock.
    """

    suite: Suite
    out: Path
    runs: list[Prepared]
    only: tuple[str, ...]
    results: Results
    held: int
    options: dict[str, Any] = field(default_factory=dict)
    replan: Callable[[], list[Prepared]] | None = None

    def plan(self) -> None:
        """Looks again at what there is to be done: what finished runs chose makes further ones possible."""
        if self.replan is not None:
            self.runs = self.replan()

    def place(self, run: Prepared) -> RunPlace:
        """The folder of a run."""
        return RunPlace(self.out / "runs" / run.key)

    def wanted(self, run: Prepared) -> bool:
        """Whether the run is to be done by this call, as far as its setting tells."""
        return run.job.entry.name in self.only and not run.problems and not run.waiting

    @property
    def refused(self) -> dict[str, str]:
        """Why a method cannot work in its setting, by row of the table."""
        return {run.job.entry.name: "; ".join(run.problems) for run in self.runs if run.problems}


@contextmanager
def opened(
    suite: str | Path | Suite,
    dataset: str | Path | None,
    out: str | Path,
    options: Mapping[str, Any] | None,
    only: Sequence[str],
    hooks: Hooks,
) -> Iterator[Grid]:
    """A grid whose every run has been checked against the dataset; its folder is this process's for the time.

    Raises:
        PaucisError: anything that would make a run impossible, in one line, before anything runs.
    """
    suite = suite if isinstance(suite, Suite) else find(suite)
    folder = Path(out)
    root = suite.dataset if dataset is None else Path(dataset)
    if root is None:
        needs = f" ({suite.needs})" if suite.needs else ""
        raise PaucisError(
            f"suite '{suite.name}' needs a dataset{needs}: paucis benchmark {suite.name} DATASET --out DIR"
        )
    given, names = dict(options or {}), chosen(suite, only)
    split = (folder / "split.json").absolute() if suite.split is not None and suite.split.folds else None
    jobs = expand(suite, root.expanduser().absolute(), given, split)
    told = hooks.progress
    ground = Ground(suite, root, (lambda done, total: told("reading scans", done, total)) if told else None)
    with claimed(
        folder, suite, {"dataset": root.name, "options": {key: str(value) for key, value in given.items()}}
    ) as held:
        ground.write_split(folder / "split.json" if split is None else split, jobs)
        results = Results(folder / "results.csv")
        replan = None if suite.rounds is None else lambda: planned(ground, jobs, results)
        runs = replan() if replan is not None else [ground.prepare(job) for job in jobs]
        ground.progress = None  # what rules choose later is soon looked at
        yield Grid(suite, folder, runs, names, results, held, given, replan)


def benchmark(
    suite: str | Path | Suite,
    dataset: str | Path | None = None,
    *,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    retry: bool = False,
    keep: bool = False,
    jobs: int | None = None,
    limit_minutes: float | None = None,
    hooks: Hooks | None = None,
) -> Benchmarked:
    """Runs a suite and writes ``results.csv``, ``table.md``, ``table.html``, and ``budget.png`` for several budgets.

    Runs with figures are not repeated; one that was interrupted goes on from its last checkpoint; one that failed is
    recorded with its error and left alone until ``retry``.

    Args:
        suite: name of a shipped suite, a YAML file, or a ``Suite``.
        dataset: folder; may be left out where the suite names one.
        out: folder of the results; may hold those of an earlier call.
        options: dotted key to value for all runs, over what the suite says.
        only: work on these entries or methods alone; the tables show all that is there.
        retry: do failed runs again, from their beginning.
        keep: leave the weights and masks of finished runs.
        jobs: runs at once; None for one on each visible GPU, and one after another without.
        limit_minutes: start no run after so long; those that run are finished.
        hooks: how to follow along.

    Raises:
        PaucisError: anything the user can mend, in one line, before anything runs.
    """
    hooks = hooks or Hooks()
    check_jobs(jobs)
    deadline = None if limit_minutes is None else time.monotonic() + 60 * limit_minutes
    with opened(suite, dataset, out, options, only, hooks) as grid:
        for name, reason in grid.refused.items():
            hooks.say(f"left out: {name}: {reason}")
        complete = True
        while complete and (todo := _todo(grid, retry)):
            places = slots(jobs, todo[0].job.config.device)
            work = _Work(grid, todo, keep, hooks, len(places))
            complete = Pool(places, grid.held).run(work.tasks(), work.ended, deadline)
            retry = False
            if not work.done:
                break
        written = write_report(grid.out, grid.suite, grid.runs, grid.results.rows)
        return _outcome(grid, not complete, written)


def _todo(grid: Grid, retry: bool) -> list[Prepared]:
    """Runs to be done now; of a suite with rounds, those of one seed: what they choose comes after them."""
    _recover(grid)
    todo: list[Prepared] = []
    for run in grid.runs:
        if not grid.wanted(run) or grid.results.finished(run.key) or run.key in [other.key for other in todo]:
            continue
        if grid.replan is not None and todo and run.job.seed != todo[0].job.seed:
            break
        place = grid.place(run)
        result = place.result()
        if grid.results.failed(run.key) or result is not None:
            if not retry:
                if result is not None and not grid.results.failed(run.key):
                    _record(grid, run, result)
                continue
            place.clear()
            grid.results.drop(run.key)
        todo.append(run)
    return todo


def _recover(grid: Grid) -> None:
    """A result whose row was lost to a crash becomes a row; of rounds, it may tell of further ones."""
    while True:
        open_runs = {run.key: run for run in grid.runs if grid.wanted(run) and not grid.results.finished(run.key)}
        found = {key: result for key, run in open_runs.items() if (result := grid.place(run).result()) is not None}
        lost = [key for key, result in found.items() if result["status"] == "finished"]
        for key in lost:
            _record(grid, open_runs[key], found[key])
        grid.plan()
        if not lost:
            return


class _Work:
    """The runs to be done: what starts them, what records them."""

    def __init__(self, grid: Grid, todo: list[Prepared], keep: bool, hooks: Hooks, at_once: int) -> None:
        self.grid, self.todo, self.keep, self.hooks, self.at_once = grid, todo, keep, hooks, at_once
        self.by_folder = {grid.place(run).path: run for run in todo}
        self.done, self.seconds = 0, 0.0
        self.began: dict[Path, float] = {}

    def tasks(self) -> Iterator[Callable[[Slot], Path]]:
        """One for each run, which prepares its folder for a slot."""
        for run in self.todo:
            yield lambda slot, run=run: self._start(run, slot)  # type: ignore[misc]

    def _start(self, run: Prepared, slot: Slot) -> Path:
        place = self.grid.place(run)
        again = " (goes on)" if place.begun else ""
        folder = place.fill(run, self.grid.suite, slot, keep=self.keep, config=run.job.config, cases=None)
        self.began[folder] = time.monotonic()
        self.hooks.say(f"{run.job}{again}: {folder / 'log.txt'}")
        return folder

    def ended(self, ended: Ended) -> None:
        """Writes the row of a run that is over."""
        run, place = self.by_folder[ended.folder], RunPlace(ended.folder)
        if ended.stopped:
            self.hooks.say(f"{run.job}: stopped and saved; the same call goes on with it")
            return
        result = place.result() or {"status": "failed", "error": ended.reason}
        _record(self.grid, run, result)
        self.done += 1
        self.seconds += time.monotonic() - self.began[ended.folder]
        left = len(self.todo) - self.done
        took = f"{self.done}/{len(self.todo)} {run.job}: "
        told = f"Dice {100 * result['dice']:.2f}" if result["status"] == "finished" else f"failed: {result['error']}"
        rest = f", about {clock(self.seconds / self.done * left / self.at_once)} left" if left else ""
        self.hooks.say(f"{took}{told}, {clock(time.monotonic() - self.began[ended.folder])}{rest}")


def _record(grid: Grid, run: Prepared, result: Mapping[str, Any]) -> None:
    """Keeps the figures of every case, then adds the row."""
    place, job = grid.place(run), run.job
    if result["status"] == "finished":
        (grid.out / "cases").mkdir(exist_ok=True)
        for source, ending in (("evaluation", ""), ("literature", ".literature")):
            if (table := place.path / source / "cases.csv").is_file():
                shutil.copyfile(table, grid.out / "cases" / f"{run.key}{ending}.csv")
    figures = {name: value for name, value in result.items() if name != "best_step"}
    if grid.suite.rounds is not None:
        figures |= {"round": job.round, "suggested": json.dumps(result.get("suggested", {}))}
    grid.results.add(
        {
            "id": run.key,
            "suite": grid.suite.name,
            "name": job.name,
            "method": job.config.method,
            "network": job.config.network,
            "labels": job.labels or "all",
            "labeled": len(run.split.labeled),
            "unlabeled": len(run.split.unlabeled),
            "seed": job.seed,
            "fold": "" if job.fold is None else job.fold,
            "steps": job.config.train.steps,
            "role": run.role,
            "weights": run.weights,
            "patients": run.patients,
            "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **figures,
        }
    )


def _outcome(grid: Grid, stopped: bool, written: tuple[Path, ...]) -> Benchmarked:
    runs = {run.key: run for run in grid.runs}  # the first run of a seed stands in every row of rules
    failed = {str(run.job): grid.results.rows[key]["error"] for key, run in runs.items() if grid.results.failed(key)}
    finished = sum(map(grid.results.finished, runs))
    refused = sum(bool(run.problems) and not grid.results.finished(key) for key, run in runs.items())
    left = len(runs) - finished - len(failed) - refused
    return Benchmarked(grid.out, len(runs), finished, failed, grid.refused, left, stopped, written)


def clock(seconds: float) -> str:
    """``35 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
