"""Tables of evaluated cases read back and laid side by side: the same cases, classes, references and units."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.errors import PaucisError
from paucis.registry import nearest

BEST = {
    "dice": 1.0,
    "jaccard": 1.0,
    "precision": 1.0,
    "recall": 1.0,
    "surface_dice": 1.0,
    "accuracy": 1.0,
    "specificity": 1.0,
    "hd95": 0.0,
    "hd": 0.0,
    "asd": 0.0,
    "assd": 0.0,
    "volume_error": 0.0,
    "relative_volume_error": 0.0,
}
"""The figure of a perfect mask; 1 where more is better, 0 where less is. Signed differences have no better side."""

RULE = (
    "A class that one set rightly leaves out and another finds where there is none counts as perfect for the first; "
    "one that no set finds and no reference holds is left out."
)

_NEEDED = ("case", "group", "class", "state")
_SAME = 1e-4  # relative difference up to which two volumes of one reference are the same, rounded


@dataclass(frozen=True)
class Measured:
    """One class of one case: its state, its figures (NaN where there is none), the volume of its reference."""

    state: str
    scores: dict[str, float]
    volume: float


@dataclass(frozen=True)
class Results:
    """A set of evaluated cases.

    Attributes:
        name: what it is called.
        path: the table.
        unit: of lengths.
        classes: names in the table's order.
        groups: patient of each case, in the table's order.
        rows: by case and class.
    """

    name: str
    path: Path
    unit: str
    classes: tuple[str, ...]
    groups: dict[str, str]
    rows: dict[tuple[str, str], Measured]


@dataclass(frozen=True)
class Aligned:
    """One metric of several sets over the same cases.

    Attributes:
        values: (sets, cases, classes), NaN where a class enters no mean.
        cases: names.
        groups: patient of each case.
        classes: names.
    """

    values: NDArray[np.float64]
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    def per_case(self, index: int, name: str | None = None) -> dict[str, float]:
        """Figure of each case of one set: of a class, or the mean over the classes that all sets have a figure of."""
        common = np.where(np.isnan(self.values).any(axis=0), math.nan, self.values[index])
        if name is not None:
            found = common[:, self.classes.index(name)]
        else:
            found = np.array([_mean(line) for line in common])
        return dict(zip(self.cases, found.tolist(), strict=True))

    def per_patient(self, index: int, name: str | None = None) -> dict[str, float]:
        """Mean over the cases of each patient, of ``per_case``."""
        collected: dict[str, list[float]] = {}
        for group, value in zip(self.groups, self.per_case(index, name).values(), strict=True):
            collected.setdefault(group, []).append(value)
        return {group: _mean(values) for group, values in collected.items()}


def read_results(name: str, path: Path, metrics: Sequence[str]) -> Results:
    """Reads a ``cases.csv`` as ``paucis evaluate`` and ``paucis benchmark`` write it.

    Args:
        name: what the set is called.
        path: of the table.
        metrics: columns that are needed.

    Raises:
        PaucisError: it cannot be read, lacks a column, or holds a line twice or a figure that is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PaucisError(f"{path} cannot be read ({error}): give a cases.csv of `paucis evaluate`") from error
    columns = set(lines[0]) if lines else set()
    for column in (*_NEEDED, *metrics):
        if column not in columns:
            what = "holds no cases" if not lines else f"has no column '{column}'"
            raise PaucisError(f"{path} {what}: give a cases.csv that `paucis evaluate` wrote")
    rows: dict[tuple[str, str], Measured] = {}
    groups: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        key = line["case"], line["class"]
        if key in rows:
            raise PaucisError(f"{path}, line {number}: {key[0]}, {key[1]} is there twice: remove one of them")
        scores = {metric: _figure(line[metric], path, number, metric) for metric in metrics}
        volume = _figure(line.get("volume_reference") or "", path, number, "volume_reference")
        rows[key] = Measured(line["state"], scores, volume)
        groups[line["case"]] = line["group"] or line["case"]
    units = {line.get("unit") or "" for line in lines}
    unit = units.pop() if len(units) == 1 else "mixed"
    return Results(name, path, unit, tuple(dict.fromkeys(line["class"] for line in lines)), groups, rows)


def together(sets: Sequence[Results], partial: bool) -> tuple[list[str], list[str]]:
    """The cases that all sets have, in the first one's order, and those that only some have.

    Raises:
        PaucisError: the sets have other classes, units or references, or cases that not all have and ``partial`` is
            not allowed.
    """
    first = sets[0]
    for other in sets[1:]:
        if set(other.classes) != set(first.classes):
            raise PaucisError(
                f"{other.path} has the classes {', '.join(other.classes)}, {first.path} has "
                f"{', '.join(first.classes)}: compare evaluations of the same classes"
            )
        if other.unit != first.unit:
            raise PaucisError(
                f"{other.path} has lengths in {other.unit or 'no unit'}, {first.path} in {first.unit or 'no unit'}: "
                "evaluate both by one convention"
            )
    shared = [case for case in first.groups if all(case in other.groups for other in sets)]
    every = dict.fromkeys(case for one in sets for case in one.groups)
    lone = [case for case in every if case not in shared]
    if not shared:
        raise PaucisError(f"{first.path} and {sets[-1].path} share no case: compare results of the same scans")
    if lone and not partial:
        lacking = next(one for one in sets if lone[0] not in one.groups)
        raise PaucisError(
            f"{lacking.path} lacks the case {lone[0]} ({len(lone)} are not in all tables): evaluate the same cases, or "
            "compare those that all have (--partial)"
        )
    for case in shared:
        for name in first.classes:
            _same_reference(sets, case, name)
    return shared, lone


def align(sets: Sequence[Results], cases: Sequence[str], metric: str) -> Aligned:
    """The figures of one metric, with what is rightly absent counted as ``RULE`` says."""
    classes = sets[0].classes
    values = np.full((len(sets), len(cases), len(classes)), math.nan)
    for row, case in enumerate(cases):
        for column, name in enumerate(classes):
            found = [one.rows[case, name] for one in sets]
            spurious = any(one.state == "spurious" for one in found)
            for index, one in enumerate(found):
                value = one.scores[metric]
                if one.state == "absent" and spurious and math.isnan(value):
                    value = BEST[metric]
                values[index, row, column] = value
    groups = tuple(sets[0].groups[case] for case in cases)
    return Aligned(values, tuple(cases), groups, classes)


def check_metrics(metrics: Sequence[str]) -> None:
    """Raises PaucisError for a metric without a better side, or one that is not known."""
    for metric in metrics:
        if metric not in BEST:
            raise PaucisError(f"--metric {metric}: must be one of {', '.join(BEST)}{nearest(metric, list(BEST))}")


def _same_reference(sets: Sequence[Results], case: str, name: str) -> None:
    for one in sets:
        if (case, name) not in one.rows:
            raise PaucisError(f"{one.path} lacks the class {name} of case {case}: evaluate again")
    volumes = [one.rows[case, name].volume for one in sets]
    for one, volume in zip(sets, volumes, strict=True):
        if not math.isclose(volume, volumes[0], rel_tol=_SAME) and not math.isnan(volume + volumes[0]):
            raise PaucisError(
                f"{one.path} and {sets[0].path} were not evaluated on the same references: {name} of case {case} has "
                f"{volume:g} in one and {volumes[0]:g} in the other; evaluate both with the same labels"
            )


def _figure(text: Any, path: Path, line: int, column: str) -> float:
    if text in ("", None):
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise PaucisError(f"{path}, line {line}: '{text}' is no number for {column}: correct it") from None


def _mean(values: Any) -> float:
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
