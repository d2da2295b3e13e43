"""From rows to figures one can quote: mean, median, spread and a bootstrap interval, per class and over classes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.evaluation.conventions import STATES, State, convention_of
from paucis.evaluation.metrics import METRICS, VOLUME_UNITS, Row

Matrix = NDArray[np.float64]

RESAMPLES = 5000
LEVEL = 0.95


@dataclass(frozen=True)
class Statistic:
    """One metric over the cases.

    Attributes:
        n: cases that have a figure.
        mean: of the cases; over classes, the mean of the classes' means (the average that the literature reports).
        median: of the cases; over classes, of the cases' own means over their classes.
        sd: standard deviation (n - 1) of the same.
        low: lower end of the 95 % bootstrap interval of ``mean``; NaN for a single patient.
        high: upper end.
    """

    n: int
    mean: float
    median: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What a set of cases comes to.

    Attributes:
        convention: name of the convention the rows were made by.
        rule: its sentence on empty masks.
        unit: of lengths (``mm``, ``pixel``, ``voxel``, or ``mixed``).
        tolerance: of the surface Dice, in ``unit``.
        cases: how many there are.
        groups: how many patients they come from; the bootstrap draws these.
        classes: for each class name, a statistic for each metric.
        overall: a statistic for each metric over all classes, every class weighing the same.
        states: for each class name, cases in which it was found, missed, spurious and absent.
    """

    convention: str
    rule: str
    unit: str
    tolerance: float
    cases: int
    groups: int
    classes: dict[str, dict[str, Statistic]]
    overall: dict[str, Statistic]
    states: dict[str, dict[State, int]]

    @property
    def volume_unit(self) -> str:
        """The unit of volumes that goes with ``unit``."""
        return VOLUME_UNITS.get(self.unit, "mixed")

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is undefined is None."""
        return {
            "convention": self.convention,
            "rule": self.rule,
            "unit": self.unit,
            "volume_unit": self.volume_unit,
            "tolerance": self.tolerance,
            "cases": self.cases,
            "groups": self.groups,
            "interval": f"{LEVEL:.0%} bootstrap, {RESAMPLES} resamples of {self._drawn}",
            "overall": _plain(self.overall),
            "classes": {name: {**_plain(found), **self.states[name]} for name, found in self.classes.items()},
        }

    @property
    def _drawn(self) -> str:
        return "cases" if self.groups == self.cases else "patients"


def summarize(rows: Sequence[Row], *, convention: str = "strict", tolerance: float = 1.0, seed: int = 0) -> Summary:
    """The figures of a set of cases.

    The interval is a percentile bootstrap of the mean. Whole patients (``Row.group``) are drawn with replacement, with
    all their cases, classes and metrics together, so that scans of one patient do not pass for independent ones.

    Args:
        rows: of ``case_metrics``, all made by one convention.
        convention: its name.
        tolerance: that the surface Dice was made with.
        seed: of the bootstrap; the same rows and seed give the same interval.

    Raises:
        ValueError: there are no rows.

    Reference: B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.
    """
    if not rows:
        raise ValueError("no rows to summarize")
    names = list(dict.fromkeys(row.name for row in rows))
    cases = list(dict.fromkeys(row.case for row in rows))
    groups = {row.case: row.group for row in rows}
    members = list(dict.fromkeys(groups[case] for case in cases))
    draws = _draws(len(members), seed)
    belongs = np.array([[groups[case] == member for case in cases] for member in members], dtype=np.float64)
    classes: dict[str, dict[str, Statistic]] = {name: {} for name in names}
    overall = {}
    for metric in METRICS:
        values = _matrix(rows, cases, names, metric)
        for column, name in enumerate(names):
            classes[name][metric] = _statistic(values[:, [column]], belongs, draws)
        overall[metric] = _statistic(values, belongs, draws)
    units = {row.unit for row in rows}
    states = {name: Counter(row.state for row in rows if row.name == name) for name in names}
    return Summary(
        convention=convention,
        rule=convention_of(convention).rule,
        unit=units.pop() if len(units) == 1 else "mixed",
        tolerance=tolerance,
        cases=len(cases),
        groups=len(members),
        classes=classes,
        overall=overall,
        states={name: {state: count[state] for state in STATES} for name, count in states.items()},
    )


def mean_dice(rows: Sequence[Row]) -> dict[str, float]:
    """For each case its mean Dice over the classes that have one; cases without any are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(row.scores["dice"]):
            found.setdefault(row.case, []).append(row.scores["dice"])
    return {case: sum(values) / len(values) for case, values in found.items()}


def _matrix(rows: Sequence[Row], cases: list[str], names: list[str], metric: str) -> Matrix:
    """(cases, classes), NaN where there is no figure."""
    row_of, column_of = {case: i for i, case in enumerate(cases)}, {name: i for i, name in enumerate(names)}
    values = np.full((len(cases), len(names)), math.nan)
    for row in rows:
        values[row_of[row.case], column_of[row.name]] = row.scores[metric]
    return values


def _draws(members: int, seed: int) -> Matrix:
    """(resamples, members): how often each member is drawn."""
    chances = np.full(members, 1 / members)
    return np.random.default_rng(seed).multinomial(members, chances, size=RESAMPLES).astype(np.float64)


def _statistic(values: Matrix, belongs: Matrix, draws: Matrix) -> Statistic:
    there = ~np.isnan(values)
    per_case = values[there.any(axis=1)]
    if not len(per_case):
        return Statistic(0, *[math.nan] * 5)
    per_case = np.nanmean(per_case, axis=1)
    sums, counts = belongs @ np.where(there, values, 0), belongs @ there.astype(np.float64)
    low = high = math.nan
    if np.count_nonzero(counts.sum(axis=1)) > 1:
        ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        low, high = np.nanquantile(_mean(draws @ sums, draws @ counts), ends)
    return Statistic(
        n=len(per_case),
        mean=float(_mean(sums.sum(axis=0), counts.sum(axis=0))),
        median=float(np.median(per_case)),
        sd=float(np.std(per_case, ddof=1)) if len(per_case) > 1 else math.nan,
        low=float(low),
        high=float(high),
    )


def _mean(sums: Matrix, counts: Matrix) -> Matrix:
    """Mean over classes of each class's mean; classes without a figure are left out."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    present, total = (counts > 0).sum(axis=-1), np.asarray(means.sum(axis=-1))
    mean: Matrix = np.divide(total, present, out=np.full_like(total, math.nan), where=present > 0)
    return mean


def _plain(found: dict[str, Statistic]) -> dict[str, dict[str, float | None]]:
    return {
        metric: {key: None if math.isnan(value) else value for key, value in vars(statistic).items()}
        for metric, statistic in found.items()
    }
