"""``--dry-run``: the runs of a suite and what they will take, from rows that are there or from a few measured steps."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis.engine.config import Config, resolve
from paucis.workflows.benchmark.choosing import looks
from paucis.workflows.benchmark.folder import FEW, RunPlace
from paucis.workflows.benchmark.ground import Prepared
from paucis.workflows.benchmark.pool import Ended, Pool, Slot, slots
from paucis.workflows.benchmark.results import Results, figure
from paucis.workflows.benchmark.rounds import Rounds
from paucis.workflows.benchmark.running import Grid, Hooks, opened
from paucis.workflows.benchmark.suite import Suite

STEPS = 8
"""Steps that are measured; a method with a short first stage takes some in each."""


@dataclass(frozen=True)
class Planned:
    """A run that has been looked at, not done.

    Attributes:
        name: the run, as text.
        state: ``finished``, ``failed``, ``begun``, ``to do`` or ``refused``.
        steps: of its training.
        seconds: what it will take from now; 0 where nothing is to be done, NaN where nothing could be measured.
        remark: why it is refused, failed or could not be measured.
    """

    name: str
    state: str
    steps: int
    seconds: float
    remark: str = ""


@dataclass(frozen=True)
class Speed:
    """What one kind of run takes, in seconds; ``look`` is of a scan of a pool that every rule looks at."""

    step: float
    case: float
    around: float
    look: float = 0.0

    def of(self, run: Prepared, rounds: Rounds | None = None) -> float:
        """Seconds of a whole run: start, steps, validations, prediction and measurement, and looking at a pool."""
        config = run.job.config
        every = config.validation.every or math.ceil(config.train.steps / 5)
        looked = min(len(run.split.val), config.validation.cases or len(run.split.val))
        validated = (math.ceil(config.train.steps / every) - 1) * looked
        choosing = 0.0 if rounds is None else looks(run, rounds) * self.look
        return self.around + config.train.steps * self.step + (len(run.evaluated) + validated) * self.case + choosing


def estimate(
    suite: str | Path | Suite,
    dataset: str | Path | None = None,
    *,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    retry: bool = False,
    hooks: Hooks | None = None,
) -> list[Planned]:
    """Lists the runs of a suite with an estimate of their time; arguments as ``benchmark``.

    For a row of the table without a finished run, a few steps, one prediction and one measurement are timed.

    Raises:
        PaucisError: anything the user can mend, in one line.
    """
    hooks = hooks or Hooks()
    with opened(suite, dataset, out, options, only, hooks) as grid:
        states = {run.key: _state(grid, run, retry) for run in grid.runs}
        chosen = [run for run in grid.runs if run.job.entry.name in grid.only]
        todo = [run for run in chosen if states[run.key] in ("to do", "begun")]
        speeds, remarks = _known(grid.results, grid.runs, grid.suite.rounds), dict[str, str]()
        unknown = {kind(run): run for run in reversed(todo) if kind(run) not in speeds}
        if unknown:
            found, remarks = _measure(grid, list(reversed(unknown.values())), hooks)
            speeds |= found
        once = {run.key: run for run in chosen}  # the first run of a seed stands in every row of rules
        return [_planned(grid, run, states[key], speeds, remarks) for key, run in once.items()]


def kind(run: Prepared) -> str:
    """Runs of one kind take equally long: those of one row of the table; where rows are rules, all but their choice."""
    return run.job.entry.method if run.job.entry.rule else run.job.entry.name


def _state(grid: Grid, run: Prepared, retry: bool) -> str:
    if grid.results.finished(run.key):
        return "finished"
    if run.problems:
        return "refused"
    if grid.results.failed(run.key) and not retry:
        return "failed"
    return "begun" if grid.place(run).begun else "to do"


def _planned(grid: Grid, run: Prepared, state: str, speeds: Mapping[str, Speed], remarks: Mapping[str, str]) -> Planned:
    remark = ""
    if state == "refused":
        remark = "; ".join(run.problems)
    elif state == "failed":
        remark = grid.results.rows[run.key]["error"]
    elif state != "finished":
        remark = remarks.get(kind(run), "")
    seconds = 0.0
    if state in ("to do", "begun"):
        seconds = speeds[kind(run)].of(run, grid.suite.rounds) if kind(run) in speeds else math.nan
    return Planned(str(run.job), state, run.job.config.train.steps, seconds, remark)


def _known(results: Results, runs: Sequence[Prepared], rounds: Rounds | None) -> dict[str, Speed]:
    """From finished rows; what they spent around steps and evaluation holds their validations."""
    speeds: dict[str, Speed] = {}
    for run in runs:
        if results.finished(run.key):
            row = results.rows[run.key]
            step, seconds, total = (
                figure(row, name) for name in ("seconds_per_step", "evaluation_seconds", "total_seconds")
            )
            case = seconds / max(len(run.evaluated), 1)
            found = Speed(step, case, 0.0)
            choosing = float(row.get("suggestion_seconds") or 0)
            looked = looks(run, rounds) if rounds is not None else 0
            before = speeds.get(kind(run), Speed(0, 0, 0))
            look = max(before.look, choosing / looked if looked else 0.0)
            around = max(total - figure(row, "train_seconds") - seconds - choosing, 0.0)
            validating = found.of(run) - len(run.evaluated) * case - run.job.config.train.steps * step
            speeds[kind(run)] = Speed(step, case, max(around - validating, 0.0), look)
    return speeds


def _measure(grid: Grid, runs: list[Prepared], hooks: Hooks) -> tuple[dict[str, Speed], dict[str, str]]:
    """Times a few steps of each run, one after another; returns speeds, and errors, by kind."""
    scratch = grid.out / "measured"
    by_folder = {scratch / run.key: run for run in runs}
    speeds: dict[str, Speed] = {}
    remarks: dict[str, str] = {}

    def tasks() -> Iterator[Callable[[Slot], Path]]:
        for run in runs:
            yield lambda slot, run=run: _start(scratch, run, grid.suite, slot)  # type: ignore[misc]

    def ended(end: Ended) -> None:
        run, result = by_folder[end.folder], RunPlace(end.folder).result() or {"status": "failed", "error": end.reason}
        if result["status"] == "finished":
            choosing = result.get("suggestion_seconds", 0.0)
            around = result["total_seconds"] - result["train_seconds"] - result["evaluation_seconds"] - choosing
            speeds[kind(run)] = Speed(
                result["seconds_per_step"], result["evaluation_seconds"], max(around, 0.0), choosing / FEW
            )
            hooks.say(f"{kind(run)}: {result['seconds_per_step']:.3g} s/step")
        else:
            remarks[kind(run)] = "stopped" if end.stopped else result["error"]
            hooks.say(f"{kind(run)}: not measured: {remarks[kind(run)]}")

    try:
        if not Pool(slots(1, runs[0].job.config.device), grid.held).run(tasks(), ended):
            raise KeyboardInterrupt
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return speeds, remarks


def _start(scratch: Path, run: Prepared, suite: Suite, slot: Slot) -> Path:
    place = RunPlace(scratch / run.key)
    place.clear()
    return place.fill(run, suite, slot, keep=False, config=_short(run.job.config), cases=1)


def _short(config: Config) -> Config:
    steps = min(STEPS, config.train.steps)
    changes = {"train.steps": steps, "train.log_every": 1, "validation.every": steps, "validation.cases": 1}
    return resolve(config.dataset, {**config.given, **changes}, tuple(config.plugs), config.recipe)
