"""The scans that may be suggested, and those that the runs have labeled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paucis.data.case import Case
from paucis.data.groups import group_of, regroup
from paucis.data.layouts import dicom_series, recognize
from paucis.data.layouts import scans as find_scans
from paucis.data.layouts.folders import LAYOUT
from paucis.data.layouts.manifest import SUFFIXES
from paucis.engine.runs import Run
from paucis.errors import PaucisError


@dataclass(frozen=True)
class Pool:
    """Scans to choose from; none of them knows of a label.

    Attributes:
        cases: that may be suggested.
        labeled: that a run was trained on with their labels, where asked for.
        left_out: how many scans of the place may not be suggested.
    """

    cases: tuple[Case, ...]
    labeled: tuple[Case, ...] = ()
    left_out: int = 0

    @property
    def patients(self) -> list[str]:
        """The patient of each scan that may be suggested."""
        return [group_of(case) for case in self.cases]


def find_pool(
    runs: Sequence[Run],
    place: Path,
    *,
    series: str | None = None,
    group: str | None = None,
    one_per_patient: bool = False,
    with_labeled: bool = False,
) -> Pool:
    """The scans of a place without those that a run has labeled or held out, nor those of patients held out.

    Args:
        runs: whose splits tell, by name, which cases are labeled, and which validate or test.
        place: a dataset, a folder of scans, or a scan.
        series: of DICOM scans, those to take; None as the first run did.
        group: regular expression that finds the patient in a case's name; None as the first run.
        one_per_patient: leave out the patients of labeled scans too.
        with_labeled: also find the labeled scans, here or in the runs' datasets.

    Raises:
        PaucisError: no scans, none that may be suggested, or a labeled scan that is not there any more.
    """
    first = runs[0].config.data
    cases = _cases(place, runs[0], series, group or first.group)
    splits = [run.folder.split() for run in runs]
    labeled = {name for split in splits for name in split.labeled}
    held = {name for split in splits for name in (*split.val, *split.test)} - labeled
    held |= {case.name for case in cases if case.role in ("val", "test") and case.name not in labeled}
    closed = held | labeled if one_per_patient else held
    patients = {group_of(case) for case in cases if case.name in closed}
    free = [case for case in cases if case.name not in labeled | held and group_of(case) not in patients]
    if not free:
        raise PaucisError(
            f"{place}: each of its {len(cases)} scans, or its patient, is labeled or held out in the run: name a "
            "folder with further scans"
        )
    known = _labeled(runs, cases, labeled) if with_labeled else ()
    return Pool(tuple(free), known, len(cases) - len(free))


def _cases(place: Path, run: Run, series: str | None, group: str | None) -> list[Case]:
    if place.expanduser().is_file() and place.suffix.lower() not in SUFFIXES:
        return find_scans(place, run.task.channels, series)
    usual = run.config.data.series
    if series is None and usual is not None and place.is_dir() and dicom_series.fits(place):
        series = usual
    dataset = recognize(place, series)
    if dataset.layout == LAYOUT and not any(case.label for case in dataset.cases):
        # a bare folder tells scans from channels only by what the run takes
        dataset = replace(dataset, cases=tuple(find_scans(place, run.task.channels)))
    try:
        return [case.unlabeled() for case in regroup(dataset, group).cases]
    except PaucisError as error:
        raise PaucisError(f"{error}, or give one that fits this pool with --group") from error


def _labeled(runs: Sequence[Run], cases: Sequence[Case], names: set[str]) -> tuple[Case, ...]:
    known = {case.name: case for case in cases if case.name in names}
    for run in runs:
        mine = [name for name in run.folder.split().labeled if name not in known]
        if mine:
            dataset = Path(run.config.dataset)
            if not dataset.exists():
                raise PaucisError(
                    f"--rule core_set starts from the labeled scans of {run.folder.path}, and its dataset {dataset} is "
                    "not there: bring it back, or take another --rule"
                )
            found = {case.name: case.unlabeled() for case in recognize(dataset, run.config.data.series).cases}
            missing = next((name for name in mine if name not in found), None)
            if missing is not None:
                raise PaucisError(
                    f"--rule core_set starts from the labeled scans of {run.folder.path}, and {dataset} has no "
                    f"'{missing}' any more: bring it back, or take another --rule"
                )
            known |= {name: found[name] for name in mine}
    return tuple(known.values())
