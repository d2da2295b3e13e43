"""The course of a training as charts: validation, losses, and every further figure that was written down."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paucis.workflows.report.charts import LINES, drawing, plain, svg, thin

_TIMES = ("seconds_per_step", "waiting_share")
_MARKS = ("-", "--", ":", "-.")

Curve = tuple[list[float], list[float]]
"""Steps and figures."""


@dataclass(frozen=True)
class Course:
    """The rows of ``training.csv`` or ``validation.csv``, the steps of all stages counted through.

    Attributes:
        curves: by column; a stage that has no such column leaves a gap.
        begins: step at which each stage begins, by name, in order.
    """

    curves: dict[str, Curve]
    begins: dict[str, int]


def read_course(path: Path, lengths: Mapping[str, int]) -> Course:
    """Reads one of the two tables of a run; empty where it is missing.

    Args:
        path: of the table.
        lengths: steps of each stage that is known, in order; a stage that is not counts as long as its rows reach.
    """
    rows: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    begins: dict[str, int] = {}
    after = 0
    for stage in dict.fromkeys([*lengths, *(row["stage"] for row in rows)]):
        begins[stage] = after
        reached = [int(row["step"]) for row in rows if row["stage"] == stage]
        after += lengths.get(stage) or max(reached, default=0)
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("stage", "step") and _finite(value):
                x, y = curves.setdefault(name, ([], []))
                x.append(begins[row["stage"]] + int(row["step"]))
                y.append(float(value))
    return Course(curves, begins)


def median_seconds(course: Course) -> float:
    """Of a training step; NaN where none was measured."""
    values = sorted(course.curves.get("seconds_per_step", ([], []))[1])
    return values[len(values) // 2] if values else math.nan


def validation_chart(runs: Mapping[str, Course]) -> str:
    """Dice on the validation cases: of each class for one run, the mean alone for several. Empty without figures."""
    lines: dict[str, Curve] = {}
    for name, course in runs.items():
        if len(runs) > 1:
            lines |= {name: course.curves["dice"]} if "dice" in course.curves else {}
        else:
            classes = {one.removeprefix("dice_"): curve for one, curve in course.curves.items() if one != "dice"}
            mean = {"mean": course.curves["dice"]} if "dice" in course.curves and len(classes) != 1 else {}
            lines |= {**mean, **classes}
    return _chart("Validation Dice, planned grid", lines, list(lines), _begins(runs), "validation", marked=True)


def loss_chart(runs: Mapping[str, Course]) -> str:
    """The sum of the losses of each run. Empty without figures."""
    lines = {name: course.curves["loss"] for name, course in runs.items() if "loss" in course.curves}
    return _chart("Training loss", lines, list(runs), _begins(runs), "loss")


def further_charts(runs: Mapping[str, Course]) -> list[str]:
    """A chart for every other column of ``training.csv``, in the order in which they stand there."""
    names = dict.fromkeys(name for course in runs.values() for name in course.curves)
    charts = []
    for number, column in enumerate(name for name in names if name != "loss" and name not in _TIMES):
        lines = {name: course.curves[column] for name, course in runs.items() if column in course.curves}
        charts.append(_chart(column, lines, list(runs), _begins(runs), f"column{number}", small=True))
    return [chart for chart in charts if chart]


def _begins(runs: Mapping[str, Course]) -> Sequence[int]:
    """Where stages begin, of a single run."""
    courses = list(runs.values())
    return [step for step in courses[0].begins.values() if step] if len(courses) == 1 else []


def _chart(
    title: str,
    lines: Mapping[str, Curve],
    order: Sequence[str],
    begins: Sequence[int],
    name: str,
    *,
    marked: bool = False,
    small: bool = False,
) -> str:
    """A line for each of ``lines``, whose place in ``order`` decides on its color in every chart."""
    if not lines:
        return ""
    with drawing(*((2.9, 1.9) if small else (4.4, 3.0))) as figure:
        axes = figure.add_subplot()
        for label, curve in lines.items():
            number = order.index(label)
            style = {
                "color": LINES[number % len(LINES)],
                "linestyle": _MARKS[number // len(LINES) % len(_MARKS)],
                "marker": "o" if marked or len(curve[0]) == 1 else None,
            }
            axes.plot(*thin(*curve), label=label, linewidth=1.3, markersize=3, **style)
        for step in begins:
            axes.axvline(step, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_xlim(left=0)
        if marked:
            axes.set_ylim(0, 1)
        if len(lines) > 1 and not small:
            axes.legend(fontsize=7, frameon=False)
        plain(axes)
        return svg(figure, name, f"{title} against the step, {', '.join(lines)}")


def _finite(value: str | None) -> bool:
    try:
        return math.isfinite(float(value or "nan"))
    except ValueError:
        return False
