"""From rows to the lines of a table: means over seeds with intervals, paired tests, time and memory."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from paucis.evaluation.comparison.statistics import Comparison, bootstrap_interval, holm, paired, t_interval
from paucis.workflows.benchmark.ground import Prepared
from paucis.workflows.benchmark.results import Row, figure
from paucis.workflows.benchmark.suite import Entry, Suite

SHOWN = ("dice", "jaccard", "hd95", "asd")

Place = tuple[int, int | None]
"""Seed and fold of a run."""


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval; ``over`` says what the interval is over: seeds, folds or patients."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    over: str = ""


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        entry: the method.
        done: runs with figures.
        wanted: runs that the suite has.
        dice: over seeds.
        means: of the other measures, as the rows have them.
        classes: mean Dice of each class.
        against: paired comparison with the reference; None for itself, or where either has no run in common.
        seconds: median of a step.
        slower: ``seconds`` over the reference's; NaN where devices differ.
        memory: largest peak in MiB, above what the process held before training.
        larger: ``memory`` over the reference's.
        literature: mean Dice by the published rules; NaN where not asked for.
        published: Dice of the paper in percent; NaN where there is none.
        by_seed: of learning curves, the difference to the reference seed by seed.
    """

    entry: Entry
    done: int
    wanted: int
    dice: Mean = Mean()
    means: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    against: Comparison | None = None
    seconds: float = math.nan
    slower: float = math.nan
    memory: float = math.nan
    larger: float = math.nan
    literature: float = math.nan
    published: float = math.nan
    by_seed: Mean = Mean()


@dataclass(frozen=True)
class Section:
    """The table of one label budget.

    Attributes:
        labels: the budget as the suite says it.
        labeled: labeled cases.
        unlabeled: unlabeled cases.
        unit: of lengths.
        lines: in the suite's order.
    """

    labels: str
    labeled: int
    unlabeled: int
    unit: str
    lines: list[Line]


def sections(out: Path, suite: Suite, runs: Sequence[Prepared], rows: Mapping[str, Row]) -> list[Section]:
    """A table for each budget of which a run is finished."""
    found = []
    for labels in dict.fromkeys(run.job.labels for run in runs):
        here = [run for run in runs if run.job.labels == labels]
        done = {run.key: rows[run.key] for run in here if _finished(rows, run.key)}
        if done:
            some = next(run for run in here if run.key in done)
            units = {row["unit"] for row in done.values()}
            lines = _lines(out, suite, here, done)
            counts = len(some.split.labeled), len(some.split.unlabeled)
            found.append(Section(labels or "all", *counts, " / ".join(sorted(units)), lines))
    return found


def over_rounds(out: Path, suite: Suite, runs: Sequence[Prepared], rows: Mapping[str, Row]) -> Section | None:
    """The mean of each rule's learning curve after the common start, over the seeds that have all of its rounds.

    Dice of a seed (and of a patient) is averaged over the rounds first; interval and test are those of one budget.

    Returns:
        None where no rule has finished a seed.
    """
    assert suite.rounds is not None
    curves: dict[str, dict[Place, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.job.round > 0:
            curves[run.job.entry.name][run.job.seed, run.job.fold].append(run.key)
    whole = {
        name: {place: keys for place, keys in places.items() if all(_finished(rows, key) for key in keys)}
        for name, places in curves.items()
    }
    if not any(whole.values()):
        return None
    scores = {
        name: {
            place: averaged(patient_dice(out / "cases" / f"{key}.csv") for key in keys)
            for place, keys in places.items()
        }
        for name, places in whole.items()
    }
    means = {
        name: {place: _mean(figure(rows[key], "dice") for key in keys) for place, keys in places.items()}
        for name, places in whole.items()
    }
    against = comparisons(suite.reference, scores)
    lines = []
    for entry in suite.entries:
        mine, theirs = means[entry.name], means.get(suite.reference or "", {})
        line = Line(entry, len(mine), len(curves[entry.name]), against=against.get(entry.name))
        if mine:
            line = replace(line, dice=over_seeds(mine, list(scores[entry.name].values())))
        if entry.name != suite.reference:
            line = replace(line, by_seed=_by_seed({p: mine[p] - theirs[p] for p in mine if p in theirs}))
        lines.append(line)
    return Section("all", 0, 0, "", lines)


def _by_seed(differences: Mapping[Place, float]) -> Mean:
    """Mean of the seeds' differences, with Student's interval over seeds; the folds of a seed averaged first."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for (seed, _), value in differences.items():
        seeds[seed].append(value)
    values = [_mean(several) for several in seeds.values()]
    return Mean(_mean(values), *t_interval(values), over="seeds")


def _finished(rows: Mapping[str, Row], key: str) -> bool:
    return rows.get(key, {}).get("status") == "finished"


def _lines(out: Path, suite: Suite, runs: Sequence[Prepared], rows: Mapping[str, Row]) -> list[Line]:
    wanted = {
        entry.name: {(run.job.seed, run.job.fold): run.key for run in runs if run.job.entry.name == entry.name}
        for entry in suite.entries
    }
    done = {name: {place: key for place, key in keys.items() if key in rows} for name, keys in wanted.items()}
    scores = {key: patient_dice(out / "cases" / f"{key}.csv") for keys in done.values() for key in keys.values()}
    against = comparisons(suite.reference, {n: {p: scores[k] for p, k in keys.items()} for n, keys in done.items()})
    reference = [rows[key] for key in done.get(suite.reference or "", {}).values()]
    lines = []
    for entry in suite.entries:
        if not wanted[entry.name]:
            continue
        line = Line(entry, len(done[entry.name]), len(wanted[entry.name]), against=against.get(entry.name))
        if suite.published:
            line = replace(line, published=suite.published.dice.get(entry.name, math.nan))
        if done[entry.name]:
            line = _filled(line, {p: (rows[k], scores[k]) for p, k in done[entry.name].items()}, reference)
        lines.append(line)
    return lines


def _times(value: float, other: float) -> float:
    """How many times the other; NaN where that took nothing that was measured."""
    return value / other if other else math.nan


def _filled(line: Line, runs: Mapping[Place, tuple[Row, dict[str, float]]], reference: Sequence[Row]) -> Line:
    rows = [row for row, _ in runs.values()]
    names = [name for name in rows[0] if name.startswith("dice:")]
    seconds, memory = _cost(rows)
    other_seconds, other_memory = _cost(reference)
    same = {row["device"] for row in rows} == {row["device"] for row in reference}
    return replace(
        line,
        dice=over_seeds({p: figure(row, "dice") for p, (row, _) in runs.items()}, [s for _, s in runs.values()]),
        means={name: _mean(figure(row, name) for row in rows) for name in SHOWN},
        classes={name.partition(":")[2]: _mean(figure(row, name) for row in rows) for name in names},
        seconds=seconds,
        slower=_times(seconds, other_seconds) if same else math.nan,
        memory=memory,
        larger=_times(memory, other_memory) if same else math.nan,
        literature=_mean(figure(row, "literature_dice") for row in rows),
    )


def over_seeds(figures: Mapping[Place, float], scores: Sequence[Mapping[str, float]]) -> Mean:
    """The mean over seeds with Student's interval; over folds where there is one seed, else over patients (bootstrap).

    Args:
        figures: of each run by seed and fold; the folds of a seed are averaged first.
        scores: of each run by patient.
    """
    seeds: dict[int, list[float]] = defaultdict(list)
    for (seed, _), value in figures.items():
        seeds[seed].append(value)
    means = [_mean(values) for values in seeds.values()]
    value = _mean(means)
    if len(means) > 1:
        return Mean(value, *t_interval(means), over="seeds")
    if len(figures) > 1:
        return Mean(value, *t_interval(figures.values()), over="folds")
    return Mean(value, *bootstrap_interval(averaged(scores).values()), over="patients")


def comparisons(
    reference: str | None, scores: Mapping[str, Mapping[Place, Mapping[str, float]]]
) -> dict[str, Comparison]:
    """Each method against the reference, patient by patient, over the seeds and folds that both have run.

    Args:
        reference: name of the reference, or None for no comparison.
        scores: by method, by seed and fold, by patient.
    """
    if reference is None or not scores.get(reference):
        return {}
    theirs, found = scores[reference], {}
    for name, ours in scores.items():
        shared = [place for place in ours if place in theirs]
        if name != reference and shared:
            found[name] = paired(averaged(ours[place] for place in shared), averaged(theirs[place] for place in shared))
    adjusted = holm([one.p for one in found.values()])
    return {name: replace(one, adjusted=p) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def averaged(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each patient over runs; a run that has no figure for a patient is left out of that patient's mean."""
    values: dict[str, list[float]] = defaultdict(list)
    for run in scores:
        for patient, value in run.items():
            values[patient].append(value)
    return {patient: _mean(found) for patient, found in values.items()}


def patient_dice(path: Path) -> dict[str, float]:
    """Dice of each patient: mean over classes of each case, then over the patient's cases. Empty without the file."""
    if not path.is_file():
        return {}
    cases: dict[tuple[str, str], list[float]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cases[row["group"], row["case"]].append(figure(row, "dice"))
    patients: dict[str, list[float]] = defaultdict(list)
    for (patient, _), values in cases.items():
        patients[patient].append(_mean(values))
    return {patient: _mean(values) for patient, values in patients.items()}


def _cost(rows: Sequence[Row]) -> tuple[float, float]:
    """Median seconds of a step and largest peak of memory."""
    seconds = [value for row in rows if not math.isnan(value := figure(row, "seconds_per_step"))]
    memory = [value for row in rows if not math.isnan(value := figure(row, "memory_mib"))]
    return (statistics.median(seconds) if seconds else math.nan), max(memory, default=math.nan)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
