"""``paucis check``: what a dataset holds and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paucis.data.case import Dataset
from paucis.data.checks import Problem, check
from paucis.data.facts import CaseFacts, Progress, gather
from paucis.data.groups import grouped, regroup
from paucis.data.layouts import dicom_series, ignored, recognize, with_classes
from paucis.data.layouts.dicom_series import SeriesFound
from paucis.data.layouts.folders import leftovers
from paucis.data.options import DataOptions, cache_home, prepare_workers
from paucis.errors import PaucisError

__all__ = ["ClassFound", "Problem", "Range", "Report", "check_dataset"]


@dataclass(frozen=True)
class Range:
    """Smallest, median and largest value along (Z, Y, X)."""

    min: tuple[float, ...]
    median: tuple[float, ...]
    max: tuple[float, ...]


@dataclass(frozen=True)
class ClassFound:
    """A class, or a value to ignore.

    Attributes:
        name: of the class.
        value: in the masks.
        cases: labels that hold it.
        voxels: over all labels.
        share: of the voxels of all classes over all labels; 0 for what is ignored.
    """

    name: str
    value: int
    cases: int
    voxels: int
    share: float


@dataclass(frozen=True)
class Report:
    """What was found in a dataset.

    Attributes:
        root: the folder.
        layout: the layout it was recognised as.
        cases: all of them.
        labeled: those with a label.
        unlabeled: those without.
        patients: groups of cases; as many as cases where nobody names patients.
        unreadable: cases with a file that cannot be read; they are not in sizes, spacings and classes.
        channels: channel names.
        classes: background first; empty without a readable label.
        ignored: raw values of voxels that count for nothing (nnU-Net's ``ignore`` label).
        dims: 2 for pictures, 3 for volumes.
        sizes: voxels along (Z, Y, X); None when nothing could be read.
        spacings: mm along (Z, Y, X); None where the files carry no geometry.
        formats: number of cases by file suffix.
        split: cases by role in each fold that the dataset ships.
        problems: errors first.
        series: of DICOM, every series and object that lies there, and what becomes of it.
    """

    root: Path
    layout: str
    cases: int
    labeled: int
    unlabeled: int
    patients: int
    unreadable: int
    channels: tuple[str, ...]
    classes: tuple[ClassFound, ...]
    ignored: tuple[ClassFound, ...]
    dims: int | None
    sizes: Range | None
    spacings: Range | None
    formats: dict[str, int]
    split: tuple[dict[str, int], ...]
    problems: tuple[Problem, ...]
    series: tuple[SeriesFound, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid training."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(problem for problem in self.problems if problem.level == "warning")

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {**asdict(self), "root": str(self.root)}


def check_dataset(
    path: str | Path,
    *,
    group: str | None = None,
    series: str | None = None,
    workers: int | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Recognise a dataset, look at every file of it, labels included, and report.

    Args:
        path: folder or manifest.
        group: regular expression that finds the patient in a case name (``data.group``).
        series: of DICOM, the series that are cases (``data.series``).
        workers: processes that read files; None chooses by the cores.
        store: folder that remembers what was seen; None takes the user's cache.
        progress: called with (done, of all).

    Raises:
        PaucisError: there is no dataset at ``path``. What is wrong inside one is in the report.
    """
    options = DataOptions(group=group, workers=workers)
    dataset = regroup(recognize(Path(path), series), group)
    ignore = ignored(dataset)
    facts, problems = gather(dataset.cases, store or cache_home(options), prepare_workers(options), progress, ignore)
    unreadable = len(dataset.cases) - len(facts)
    try:
        dataset = with_classes(dataset, facts.values()) if any(case.label for case in dataset.cases) else dataset
    except PaucisError as error:
        problems.append(Problem.of(error, [dataset.root]))
    problems += check(dataset, facts)
    problems += leftovers(dataset)
    if dataset.layout == dicom_series.LAYOUT:
        problems += dicom_series.damaged(dataset.root)
    problems.sort(key=lambda problem: problem.level != "error")
    listed = dicom_series.found(dataset.root, series) if dataset.layout == dicom_series.LAYOUT else ()
    return replace(_report(dataset, list(facts.values()), unreadable, problems), series=listed)


def _report(dataset: Dataset, facts: Sequence[CaseFacts], unreadable: int, problems: Sequence[Problem]) -> Report:
    labeled = sum(case.label is not None for case in dataset.cases)
    suffixes = [fact.geometry.suffix for fact in facts]
    return Report(
        root=dataset.root,
        layout=dataset.layout,
        cases=len(dataset.cases),
        labeled=labeled,
        unlabeled=len(dataset.cases) - labeled,
        patients=len(grouped(dataset.cases)),
        unreadable=unreadable,
        channels=dataset.channels,
        classes=_classes(dataset.classes, dataset.values, facts),
        ignored=_ignored(dataset, facts),
        dims=max((fact.geometry.dims for fact in facts), default=None),
        sizes=_range([fact.shape for fact in facts]),
        spacings=_range([fact.geometry.spacing for fact in facts if fact.geometry.physical]),
        formats={suffix: suffixes.count(suffix) for suffix in sorted(set(suffixes))},
        split=tuple({role: len(names) for role, names in fold.items()} for fold in dataset.split),
        problems=tuple(problems),
    )


def _classes(names: Sequence[str], values: Sequence[int], facts: Sequence[CaseFacts]) -> tuple[ClassFound, ...]:
    counts = [fact.label_counts for fact in facts if fact.label_counts is not None]
    voxels = [sum(one.get(value, 0) for one in counts) for value in values]
    total = max(sum(voxels), 1)
    return tuple(
        ClassFound(name, value, sum(value in one for one in counts), number, number / total)
        for name, value, number in zip(names, values, voxels, strict=True)
    )


def _ignored(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[ClassFound, ...]:
    values = sorted(ignored(dataset))
    return tuple(replace(found, share=0.0) for found in _classes(["ignore"] * len(values), values, facts))


def _range(rows: Sequence[Sequence[float]]) -> Range | None:
    if not rows:
        return None
    table = np.array(rows)
    low, middle, high = table.min(0), np.median(table, 0), table.max(0)
    return Range(tuple(low.tolist()), tuple(middle.tolist()), tuple(high.tolist()))
