"""What a person sees: progress on standard error, results on standard output."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text


def out(text: str | Group) -> None:
    """Prints a result."""
    if isinstance(text, str):
        sys.stdout.write(text + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(text)


PATIENCE = 20.0  # seconds between two lines that tell how far a piece of work is


class Screen:
    """Progress of a long piece of work: a bar on a terminal, a line now and then elsewhere.

    Elsewhere, the first lines are held back for as long as nothing takes long: where the work fails at once, its
    reason is the only line.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}
        self.said = self.started = time.monotonic()
        self.held: list[str] = []

    def tell(self, line: str) -> None:
        """Says one line."""
        self.held.append(line)
        if self.console.is_terminal or time.monotonic() - self.started > PATIENCE:
            self.release()

    def release(self) -> None:
        """Says what was held back."""
        for line in self.held:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self.held.clear()

    def progress(self, what: str, done: int, total: int) -> None:
        """Shows how far something is."""
        self._show(what, done, total, "")

    def report(self, state: dict[str, Any]) -> None:
        """Shows how far a training is."""
        self.release()
        notes = [f"{state['speed']:.2f} steps/s", f"{_clock(state['left'])} left"]
        if state["dice"] is not None:
            notes.insert(0, f"Dice {100 * state['dice']:.1f}")
        if state["loss"] is not None:
            notes.insert(0, f"loss {state['loss']:.3f}")
        self._show(state["stage"], state["step"], state["total"], ", ".join(notes))

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if self.console.is_terminal:
            if what not in self.tasks:
                self.tasks[what] = self.bar.add_task(what, total=total, note=note)
            self.bar.update(self.tasks[what], completed=done, total=total, note=note)
        elif done == total or time.monotonic() - self.said > PATIENCE:
            self.said = time.monotonic()
            self.tell(f"{what} {done}/{total} {note}".rstrip())


@contextmanager
def follow() -> Iterator[Screen]:
    """A screen for the time of the block; the log's warnings appear on it, one line each."""
    import logging

    screen = Screen()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            screen.tell(f"{record.levelname.lower()}: {record.getMessage()}")

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("paucis")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with screen.bar:
            yield screen
        screen.release()
    finally:
        logger.removeHandler(handler)


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bare counter for the time of the block, on a terminal only."""
    with follow() as screen:
        yield lambda done, total: screen.progress("reading scans", done, total) if screen.console.is_terminal else None


def entries(found: list[dict[str, Any]]) -> str:
    """Names, summaries and options as text."""
    lines = []
    for entry in found:
        lines.append(f"{entry['name']}: {entry['summary']}" if entry["summary"] else entry["name"])
        for item in entry["options"]:
            meaning = f"  {item['meaning']}" if item["meaning"] else ""
            choices = f" ({', '.join(map(str, item['choices']))})" if item["choices"] else ""
            lines.append(f"    {item['name']} = {_value(item['default'])}{meaning}{choices}")
    return "\n".join(lines) if lines else "none yet"


def trained(result: Any, command: str = "train") -> str:
    """What a training or pretraining left."""
    lines = []
    for name, stage in result.results.items():
        best = stage["best"]
        if best:
            lines.append(
                f"{name}: best validation Dice {100 * best['dice']:.2f} at step {best['step']} of {stage['steps']}"
            )
        else:
            lines.append(f"{name}: {stage['steps']} steps, not validated")
    if not result.finished:
        lines.append(f"stopped and saved; go on with: paucis {command} --resume --out {result.folder}")
    elif command == "pretrain":
        lines.append(f"start from it with: {_started_from(result.folder)}")
    lines.append(f"run: {result.folder}")
    return "\n".join(lines)


def _started_from(folder: Path) -> str:
    """The command that trains from a pretraining, on the network that it has pretrained."""
    from paucis.engine.runs import RunFolder

    given = RunFolder(folder).config()
    same = [f"{key}={value}" for key, value in given.given.items() if key.startswith("network.")]
    words = [f"network={given.network}", *(word for word in same if not word.startswith("network.weights="))]
    return f"paucis train DATASET --out RUN --init {folder} {' '.join(words)}"


def discovered(result: Any) -> str:
    """What a shape-guided training left, and whether its target channel is empty or full."""
    lines = [trained(result.trained, "discover")]
    if result.target is not None:
        figures = f"the target takes {100 * result.target:.2g} %, reference masks {100 * result.shapes:.2g} %"
        figures += f"; told apart: {100 * result.told_apart:.0f} % (50: not at all)"
        lines.append(f"found: {figures}; curve: {result.picture}")
    if result.collapse is not None:
        lines.append(f"warning: {result.collapse}")
    if result.trained.finished:
        lines.append(f"next: paucis predict {result.trained.folder} IMAGES --out FOLDER")
    return "\n".join(lines)


def predicted(result: Any) -> str:
    """What a prediction left."""
    return f"{len(result.masks)} masks in {result.out}, their maps in {result.out / 'maps'}, table {result.table}"


def embedded(result: Any) -> str:
    """What a picture of pixel features shows."""
    counts = ", ".join(f"{count} of {name}" for name, count in result.points.items())
    if result.regions:
        return f"{result.picture}: regions of {result.cases} scans, {counts}; points in {result.table}"
    of = "labels" if result.referenced else "predictions, since no scan has a label"
    return f"{result.picture}: {counts}, classes by the {of}; points in {result.table}"


SHOWN = ("jaccard", "hd95", "asd", "assd", "surface_dice")


def evaluated(result: Any) -> Group:
    """The summary of an evaluation: a row per class and one over all, the rule on empty masks, where the files lie."""
    from paucis.evaluation.tables import title

    summary = result.summary
    table = Table(title=f"{summary.cases} cases")
    table.add_column("class")
    for heading in ("Dice %", "95 % interval", "median", *(title(metric, summary) for metric in SHOWN)):
        table.add_column(heading, justify="right")
    for heading in ("n", "missed", "spurious"):
        table.add_column(heading, justify="right")
    for name, found in summary.classes.items():
        states = summary.states[name]
        table.add_row(name, *_figures(found), *map(str, (found["dice"].n, states["missed"], states["spurious"])))
    if len(summary.classes) > 1:
        table.add_row("mean", *_figures(summary.overall), str(summary.overall["dice"].n), "", "", end_section=True)
    lines = [summary.rule, *result.notes, f"tables: {result.out}"]
    if result.sheet is not None:
        lines.append(f"pictures: {result.sheet}")
    return Group(table, *(Text(line) for line in lines))


def benchmarked(result: Any) -> str:
    """What a grid came to."""
    lines = [f"left out: {name}: {reason}" for name, reason in result.refused.items()]
    lines += [f"failed: {name}: {error}" for name, error in result.failed.items()]
    counts = [f"{result.finished} of {result.runs} runs finished", f"{len(result.failed)} failed"]
    lines.append(", ".join([*counts, f"{result.left} left"]))
    if result.failed:
        lines.append("--retry does failed runs again")
    if result.stopped or result.left:
        lines.append("the same call goes on with what is left")
    lines += [f"{path}" for path in (result.out / "results.csv", *result.written) if path.is_file()]
    return "\n".join(lines)


def planned(runs: list[Any]) -> Group:
    """The runs of a grid with what they will take."""
    table = Table(title=f"{len(runs)} runs")
    for heading in ("run", "state", "steps", "time", "remark"):
        table.add_column(heading, justify="right" if heading in ("steps", "time") else "left")
    for run in runs:
        time = "?" if math.isnan(run.seconds) else _clock(run.seconds) if run.seconds else ""
        table.add_row(run.name, run.state, str(run.steps), time, run.remark)
    known = sum(run.seconds for run in runs if not math.isnan(run.seconds))
    unknown = sum(math.isnan(run.seconds) for run in runs)
    more = f", and {unknown} runs that could not be measured" if unknown else ""
    return Group(table, Text(f"in all about {_clock(known)} on this machine, one run after another{more}"))


def suites(found: list[dict[str, Any]]) -> str:
    """Suites with what they compare."""
    lines = []
    for suite in found:
        grid = [f"labels {_value(suite['labels'])}", f"{len(suite['seeds'])} seeds"]
        grid += [f"{len(suite['folds'])} folds"] if suite["folds"] else []
        also = f" ({suite['table']})" if suite["table"] else ""
        lines += [f"{suite['name']}{also}: {suite['summary']}", f"    data: {suite['needs']}"]
        lines.append(f"    grid: {', '.join(grid)}")
        lines.append(f"    methods: {_value(suite['methods'])}")
    return "\n".join(lines)


def plain(value: Any) -> Any:
    """A result as JSON can hold it; what is undefined is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _figures(found: dict[str, Any]) -> list[str]:
    dice = found["dice"]
    shares = ("jaccard", "surface_dice")
    return [
        _percent(dice.mean),
        f"{_percent(dice.low)} - {_percent(dice.high)}",
        _percent(dice.median),
        *(_percent(found[m].mean) if m in shares else _plain(found[m].mean) for m in SHOWN),
    ]


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return (
            "x".join(map(str, value))
            if all(isinstance(v, int) for v in value) and value
            else ", ".join(map(_value, value))
        )
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
