"""Rows and summary as files: CSV, JSON and a table to read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paucis.evaluation.conventions import STATES
from paucis.evaluation.metrics import Row
from paucis.evaluation.summary import Statistic, Summary
from paucis.files import write, write_text

ELSEWHERE = "choose another --out"
"""What to do where results cannot be written."""

write_whole = write

TITLES = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "surface_dice": "Surface Dice",
    "hd95": "HD95",
    "hd": "HD",
    "asd": "ASD",
    "assd": "ASSD",
    "volume_error": "Volume error",
    "volume_difference": "Volume difference",
    "relative_volume_error": "Relative volume error",
}
"""What each metric is called in tables."""

_LENGTHS = ("hd95", "hd", "asd", "assd")
_VOLUMES = ("volume_error", "volume_difference")


def title(metric: str, summary: Summary) -> str:
    """The metric's name with its unit."""
    if metric in _LENGTHS:
        return f"{TITLES[metric]} ({summary.unit})"
    if metric in _VOLUMES:
        return f"{TITLES[metric]} ({summary.volume_unit})"
    if metric == "surface_dice":
        return f"{TITLES[metric]} ({summary.tolerance:g} {summary.unit})"
    return TITLES[metric]


def write_tables(folder: Path, rows: Sequence[Row], summary: Summary, notes: Sequence[str] = ()) -> None:
    """Write ``cases.csv``, ``cases.json``, ``summary.json`` and ``summary.md`` to ``folder``.

    Every file appears whole or not at all.

    Args:
        folder: made when it is missing.
        rows: one for each case and class.
        summary: of these rows.
        notes: sentences for the summary, such as cases that had no prediction.

    Raises:
        PaucisError: the folder cannot be written to.
    """
    plain = [row.to_dict() for row in rows]
    texts = {
        "cases.csv": _csv(plain),
        "cases.json": _json(plain),
        "summary.json": _json({**summary.to_dict(), "notes": list(notes)}),
        "summary.md": markdown(summary, notes),
    }
    for name, text in texts.items():
        write_text(folder / name, text, ELSEWHERE)


def markdown(summary: Summary, notes: Sequence[str] = ()) -> str:
    """The summary as a page: a table of classes, a table for each class, the rule on empty masks."""
    patients = "" if summary.groups == summary.cases else f" of {summary.groups} patients"
    lines = [f"# Evaluation of {summary.cases} cases{patients}", ""]
    lines += _overview(summary)
    several = len(summary.classes) > 1
    parts = {**summary.classes, **({"Mean over classes": summary.overall} if several else {})}
    for name, found in parts.items():
        lines += ["", f"## {name}", "", *_details(found, summary)]
    drawn = "cases" if summary.groups == summary.cases else "patients"
    lines += ["", f"{summary.rule}", "", f"95 % intervals: percentile bootstrap of the mean over {drawn}."]
    lines += [f"\n{note}" for note in notes]
    return "\n".join(lines) + "\n"


def _overview(summary: Summary) -> list[str]:
    shown = ("dice", "jaccard", "hd95", "asd", "surface_dice")
    head = ["Class", *(title(metric, summary) for metric in shown), "Found", "Missed", "Spurious", "Absent"]
    body = []
    for name, found in summary.classes.items():
        body.append([name, *(figure(found[metric]) for metric in shown), *map(str, summary.states[name].values())])
    if len(summary.classes) > 1:
        totals = [sum(states[key] for states in summary.states.values()) for key in STATES]
        body.append(["**Mean**", *(figure(summary.overall[metric]) for metric in shown), *map(str, totals)])
    return _table(head, body)


def _details(found: dict[str, Statistic], summary: Summary) -> list[str]:
    head = ["Metric", "n", "Mean", "95 % interval", "Median", "SD"]
    body = []
    for metric, statistic in found.items():
        interval = "" if math.isnan(statistic.low) else f"{number(statistic.low)} to {number(statistic.high)}"
        figures = [number(statistic.mean), interval, number(statistic.median), number(statistic.sd)]
        body.append([title(metric, summary), str(statistic.n), *figures])
    return _table(head, body)


def figure(statistic: Statistic) -> str:
    """Mean and interval, such as ``0.873 [0.861, 0.884]``."""
    if math.isnan(statistic.low):
        return number(statistic.mean)
    return f"{number(statistic.mean)} [{number(statistic.low)}, {number(statistic.high)}]"


def number(value: float) -> str:
    """Three decimals for shares, fewer for large figures, a dash for what is undefined."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in (head, rule, *body)]


def _csv(plain: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue()


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
