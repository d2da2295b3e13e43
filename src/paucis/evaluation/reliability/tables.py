"""Figures of calibration and error detection over cases: tables, means with intervals, and pooled curves."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis.evaluation.comparison.statistics import bootstrap_interval
from paucis.evaluation.reliability.cases import EVERY, REGIONS, CaseSums
from paucis.evaluation.tables import ELSEWHERE, number
from paucis.files import write_json, write_text

RULES = (
    "ECE: 15 bins of equal width. ACE: 15 bins of equally many voxels. Both of the winning class's probability; in the "
    "lines of a class, of its own probability. Brier: sum over classes of squared differences, 0 to 2; of a class, 0 "
    "to 1.",
    "AUROC: chance that a wrong voxel is more uncertain than a right one. AURC: area under the risk-coverage curve, "
    "the mean error among the least uncertain voxels over all shares kept; 'least' is that of a perfect order.",
    "Regions: the box around prediction and reference with a tenth of its length on each side; the voxels of either; "
    "all. Voxels of either mask are chosen by the answer, which makes errors frequent there: a calibrated model has an "
    "ECE above 0 in 'foreground', not in 'box'.",
    "Each figure is computed per case; shown are means over patients with 95 % bootstrap intervals. Cases without "
    "errors have no AUROC.",
)


@dataclass(frozen=True)
class Figure:
    """A mean over patients with its 95 % interval, and the cases that have the figure."""

    mean: float
    low: float
    high: float
    cases: int


def rows_of(case: CaseSums) -> list[dict[str, Any]]:
    """The lines of a case: a line for each region and class; errors stand in those of the winning class."""
    rows = []
    for region, sums in case.regions.items():
        for name in sums.bins:
            base = {"case": case.case, "group": case.group, "region": region, "class": name, "voxels": sums.voxels}
            row = {**base, **sums.calibration(name)}
            if name == EVERY:
                row |= {"error_rate": sums.wrong / sums.voxels if sums.voxels else math.nan, **sums.detection()}
            rows.append(row)
    return rows


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Figure]]]:
    """Means over patients by region, class and figure."""
    found: dict[str, dict[str, dict[str, Figure]]] = {}
    keys = ("case", "group", "region", "class", "voxels")
    for region in REGIONS:
        for name in dict.fromkeys(row["class"] for row in rows):
            here = [row for row in rows if (row["region"], row["class"]) == (region, name)]
            figures = dict.fromkeys(key for row in here for key in row if key not in keys)
            found.setdefault(region, {})[name] = {key: _over_patients(here, key) for key in figures}
    return found


def write_reliability(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Mapping[str, Mapping[str, Figure]]],
    more: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Writes ``reliability.csv`` (a line for each case, region and class), ``reliability.json`` and ``reliability.md``.

    Raises:
        PaucisError: the folder cannot be written to.
    """
    text = io.StringIO(newline="")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if _undefined(value) else value for key, value in row.items()} for row in rows)
    write_text(folder / "reliability.csv", text.getvalue(), ELSEWHERE)
    plain = {
        region: {name: {key: _plain(one) for key, one in figures.items()} for name, figures in classes.items()}
        for region, classes in summary.items()
    }
    write_json(folder / "reliability.json", {"regions": plain, **more, "notes": list(notes)})
    write_text(folder / "reliability.md", _markdown(summary, notes), ELSEWHERE)


def table_of(summary: Mapping[str, Mapping[str, Mapping[str, Figure]]]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of the table of calibration: region, class, error rate, ECE, ACE, Brier."""
    shown = ("error_rate", "ece", "ace", "brier")
    head = ["region", "class", "error rate", "ECE", "ACE", "Brier"]
    body = [
        [region, name, *(figure_text(figures.get(key)) for key in shown)]
        for region, classes in summary.items()
        for name, figures in classes.items()
    ]
    return head, body


def errors_of(summary: Mapping[str, Mapping[str, Mapping[str, Figure]]]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of the table of error detection: region, map, AUROC, AURC."""
    body = []
    for region, classes in summary.items():
        figures = classes.get(EVERY, {})
        for key in figures:
            if key.startswith("aurc:"):
                name = key.partition(":")[2]
                body.append([region, name, figure_text(figures.get(f"auroc:{name}")), figure_text(figures[key], 4)])
    return ["region", "map", "AUROC of errors", "AURC"], body


def _markdown(summary: Mapping[str, Mapping[str, Mapping[str, Figure]]], notes: Sequence[str]) -> str:
    lines = ["# Reliability", ""]
    for head, body in (table_of(summary), errors_of(summary)):
        rule = ["---", "---", *["---:"] * (len(head) - 2)]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in (head, rule, *body)]
        lines.append("")
    return "\n".join([*lines, "\n\n".join(notes)]) + "\n"


def _over_patients(rows: Sequence[Mapping[str, Any]], key: str) -> Figure:
    patients: dict[str, list[float]] = {}
    for row in rows:
        if not _undefined(value := row.get(key, math.nan)):
            patients.setdefault(row["group"], []).append(float(value))
    means = [sum(values) / len(values) for values in patients.values()]
    mean = sum(means) / len(means) if means else math.nan
    return Figure(mean, *bootstrap_interval(means), cases=sum(map(len, patients.values())))


def figure_text(one: Figure | None, digits: int = 3) -> str:
    """Mean and interval; a dash for what is undefined."""
    if one is None or math.isnan(one.mean):
        return "-"
    if digits == 3:
        interval = "" if math.isnan(one.low) else f" [{number(one.low)}, {number(one.high)}]"
        return f"{number(one.mean)}{interval}"
    interval = "" if math.isnan(one.low) else f" [{one.low:.{digits}f}, {one.high:.{digits}f}]"
    return f"{one.mean:.{digits}f}{interval}"


def _plain(one: Figure) -> dict[str, float | int | None]:
    return {key: None if _undefined(value) else value for key, value in vars(one).items()}


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
