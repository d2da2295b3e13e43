"""What sets of evaluated cases come to against one of them: tests, intervals, and who wins how many cases."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paucis.evaluation.comparison.rows import BEST, RULE, Aligned
from paucis.evaluation.comparison.statistics import Comparison, compare
from paucis.evaluation.tables import ELSEWHERE, TITLES, number
from paucis.files import write_json, write_text

MEAN = "mean over classes"
"""What the line over all classes is called."""

_DIGITS = 12
_FEW = 6  # units below which the signed-rank test cannot fall below 0.05


class Tally(NamedTuple):
    """Cases in which a set is better than, as good as, and worse than another."""

    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Line:
    """One set against the reference, in one metric and class.

    Attributes:
        metric: name of the metric.
        label: class, or ``MEAN``.
        name: of the set.
        cases: cases with a figure.
        mean: of the set over the patients.
        other: mean of the reference over the same.
        comparison: difference (set minus reference) over patients.
        tally: of cases.
    """

    metric: str
    label: str
    name: str
    cases: int
    mean: float
    other: float
    comparison: Comparison
    tally: Tally


def lines_of(metric: str, aligned: Aligned, names: Sequence[str], reference: int, tie: float = 0.0) -> list[Line]:
    """Compares every set with the reference: per class where there are several, and over classes.

    Holm's correction is over the sets, for each metric and class apart.

    Args:
        metric: its name.
        aligned: its figures.
        names: of the sets.
        reference: index of the set that the others are compared with.
        tie: largest difference that counts as none, for the tally alone.
    """
    labels: list[str | None] = [None, *aligned.classes] if len(aligned.classes) > 1 else [aligned.classes[0]]
    others = [index for index in range(len(names)) if index != reference]
    lines = []
    for label in labels:
        patients = {names[index]: aligned.per_patient(index, label) for index in others}
        theirs = aligned.per_patient(reference, label)
        found = compare(patients, theirs)
        cases = aligned.per_case(reference, label)
        for index in others:
            name = names[index]
            differences = difference(aligned.per_case(index, label), cases)
            means = _mean(patients[name].values()), _mean(theirs.values())
            tally = tally_of(differences.values(), BEST[metric] == 1, tie)
            lines.append(Line(metric, label or MEAN, name, len(differences), *means, found[name], tally))
    return lines


def difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Ours minus theirs, where both have a figure; what is equal but for rounding is 0."""
    found = {case: round(value - theirs[case], _DIGITS) for case, value in ours.items()}
    return {case: value for case, value in found.items() if not math.isnan(value)}


def tally_of(differences: Any, more_is_better: bool, tie: float = 0.0) -> Tally:
    """Wins, ties and losses of differences (set minus reference)."""
    gains = np.array(list(differences)) * (1 if more_is_better else -1)
    wins, losses = int((gains > tie).sum()), int((gains < -tie).sum())
    return Tally(wins, len(gains) - wins - losses, losses)


def write_comparison(
    folder: Path, lines: Sequence[Line], aligned: Mapping[str, Aligned], sets: Sequence[str], reference: int, unit: str
) -> None:
    """Writes ``comparison.csv``, ``comparison.json``, ``comparison.md`` and ``differences.csv`` to ``folder``.

    Raises:
        PaucisError: the folder cannot be written to.
    """
    rows = [_plain(line, sets[reference]) for line in lines]
    write_text(folder / "comparison.csv", _csv(rows), ELSEWHERE)
    notes = notes_of(lines)
    write_json(folder / "comparison.json", {"reference": sets[reference], "unit": unit, "rows": rows, "notes": notes})
    write_text(folder / "comparison.md", _markdown(lines, sets[reference], unit, notes), ELSEWHERE)
    write_text(folder / "differences.csv", _csv(_per_case(aligned, sets, reference)), ELSEWHERE)


def notes_of(lines: Sequence[Line]) -> list[str]:
    """What a reader has to know of these lines."""
    notes = [
        "Difference: set minus reference, mean over patients, with the 95 % percentile bootstrap interval. p: "
        "two-sided Wilcoxon signed-rank test over patients; adjusted by Holm over the sets, for each metric and class "
        "apart.",
        RULE,
    ]
    few = {line.comparison.n for line in lines if 0 < line.comparison.n < _FEW}
    if few:
        fewest = min(few)
        notes.append(f"With {fewest} patients p cannot be below {2 / 2**fewest:.3g}, whatever the difference.")
    return notes


def heading(metric: str, unit: str) -> str:
    """The metric's name, with its unit where it is a length."""
    return f"{TITLES[metric]} ({unit})" if metric in ("hd95", "hd", "asd", "assd") and unit else TITLES[metric]


def p_value(value: float) -> str:
    """A probability as tables show it."""
    return "-" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _plain(line: Line, reference: str) -> dict[str, Any]:
    found = line.comparison
    figures = {
        "mean": line.mean,
        "reference_mean": line.other,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_holm": found.adjusted,
    }
    return {
        "metric": line.metric,
        "class": line.label,
        "set": line.name,
        "reference": reference,
        "cases": line.cases,
        "patients": found.n,
        **{name: None if math.isnan(value) else value for name, value in figures.items()},
        **line.tally._asdict(),
    }


def _per_case(aligned: Mapping[str, Aligned], sets: Sequence[str], reference: int) -> list[dict[str, Any]]:
    rows = []
    for metric, one in aligned.items():
        for label in [None, *one.classes] if len(one.classes) > 1 else list(one.classes):
            figures = [one.per_case(index, label) for index in range(len(sets))]
            for case, group in zip(one.cases, one.groups, strict=True):
                base: dict[str, Any] = {"metric": metric, "class": label or MEAN, "case": case, "group": group}
                base |= {"reference": _or_none(figures[reference][case])}
                for index, name in enumerate(sets):
                    if index != reference and not math.isnan(figures[index][case] - figures[reference][case]):
                        value = round(figures[index][case] - figures[reference][case], _DIGITS)
                        won = tally_of([value], BEST[metric] == 1)
                        outcome = "win" if won.wins else "loss" if won.losses else "tie"
                        ours = {"set": name, "value": figures[index][case], "difference": value, "outcome": outcome}
                        rows.append({**base, **ours})
    return rows


def _markdown(lines: Sequence[Line], reference: str, unit: str, notes: Sequence[str]) -> str:
    text = [f"# Comparison with {reference}", ""]
    for metric in dict.fromkeys(line.metric for line in lines):
        better = "more is better" if BEST[metric] == 1 else "less is better"
        text += [f"## {heading(metric, unit)} ({better})", ""]
        text += ["| Class | Set | n | Mean | Reference | Difference | p | p (Holm) | Wins / ties / losses |"]
        text += ["|---|---|---:|---:|---:|---:|---:|---:|---:|"]
        for line in lines:
            if line.metric == metric:
                text.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells(line))} |")
        text.append("")
    return "\n".join([*text, "\n\n".join(notes)]) + "\n"


def cells(line: Line) -> list[str]:
    """A line as text: class, set, patients, means, difference with interval, p, adjusted p, tally."""
    found = line.comparison
    interval = "" if math.isnan(found.low) else f" [{number(found.low)}, {number(found.high)}]"
    shown = [number(line.mean), number(line.other), f"{number(found.difference)}{interval}"]
    return [
        line.label,
        line.name,
        str(found.n),
        *shown,
        p_value(found.p),
        p_value(found.adjusted),
        " / ".join(map(str, line.tally)),
    ]


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Any) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
