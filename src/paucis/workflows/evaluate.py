"""Evaluate: predictions against labels, as tables and as a sheet of pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paucis.data.case import Case, Dataset
from paucis.data.dicom import is_address
from paucis.data.formats import read_image, read_map
from paucis.data.groups import regroup
from paucis.errors import PaucisError
from paucis.evaluation.conventions import convention_of
from paucis.evaluation.masks.finding import Masks, Pair, find_images, find_labels, find_predictions, match
from paucis.evaluation.masks.reading import Scheme, agree, read_pair, values_of_file
from paucis.evaluation.masks.values import UNKNOWN
from paucis.evaluation.metrics import Row, case_metrics
from paucis.evaluation.pictures.changes import Change, draw_changes
from paucis.evaluation.pictures.sheets import choose, draw
from paucis.evaluation.pictures.slices import Panel
from paucis.evaluation.processes import over
from paucis.evaluation.summary import Summary, mean_dice, summarize
from paucis.evaluation.tables import write_tables

Progress = Callable[[int, int, str], None]
"""Called with (cases done, cases in all, name of the case just done)."""

_LOG = logging.getLogger(__name__)
REFINED = ("uncertainty_before", "uncertainty_after")
"""Maps of a method that refines its own answer, shown as ``changes.png``."""
_NAMED = 5  # cases named in a message; the rest is counted


@dataclass(frozen=True)
class Evaluation:
    """What was found, and where it lies.

    Attributes:
        summary: figures per class and over classes, with the rule on empty masks (``summary.rule``).
        rows: all figures of every case and class.
        out: folder with ``cases.csv``, ``cases.json``, ``summary.json``, ``summary.md``.
        sheet: picture of the worst, the median and the best case; None where no case has a Dice. Beside it lies
            ``changes.png`` where the method's maps say how uncertain it was before and after a refinement.
        missing: labels that had no prediction.
        unmatched: predictions that had no label.
        notes: sentences on what was left out.
    """

    summary: Summary
    rows: list[Row]
    out: Path
    sheet: Path | None
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    notes: tuple[str, ...]


def evaluate(
    predictions: str | Path,
    labels: str | Path,
    *,
    out: str | Path | None = None,
    classes: Sequence[str] | None = None,
    images: str | Path | None = None,
    group: str | None = None,
    series: str | None = None,
    convention: str = "strict",
    tolerance_mm: float = 1.0,
    partial: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compares predicted masks with labels, volume by volume.

    Args:
        predictions: folder that ``predict`` wrote, any folder of masks, or one mask.
        labels: folder of masks of the same names, a dataset in any layout, or one mask.
        out: folder for the results; ``PREDICTIONS/evaluation`` by default.
        classes: class names, the background first; by default those of the dataset, or of the predictions' manifest.
        images: folder of images for the picture sheet, where neither labels nor predictions tell of them.
        group: regular expression that finds the patient in a case's name; intervals draw whole patients.
        series: of labels in a DICOM dataset, the series that are cases (``data.series``).
        convention: ``strict``, or ``literature`` for the rules of the published semi-supervised code.
        tolerance_mm: of the surface Dice, in mm; in pixels or voxels where lengths are.
        partial: allow labels without a prediction; they are counted and named.
        workers: processes; 0 works in this one, None starts some when there is much to do.
        progress: told of every case when it is done.

    Raises:
        PaucisError: nothing to evaluate, a label without prediction, a mask of another size or place, a value that is
            no class, an unreadable file, or results that cannot be written.
    """
    convention_of(convention)
    if not 0 <= tolerance_mm < float("inf"):
        raise PaucisError(f"tolerance_mm={tolerance_mm} must be 0 or more")
    predicted, labeled = find_predictions(Path(predictions)), find_labels(Path(labels), series)
    given = find_images(Path(images)) if images is not None else {}
    pairs, missing, unmatched = match(predicted, labeled)
    _check(predicted, labeled, pairs, missing, partial)
    scheme = agree(predicted, labeled, pairs, classes, lambda paths: _values(paths, workers))
    patients = patients_of(pairs, labeled, group)
    rows: list[Row] = []
    work = _Measure(scheme, tolerance_mm, convention, patients)
    for number, (pair, found) in enumerate(zip(pairs, over(work, pairs, workers), strict=True), start=1):
        rows += found
        if progress:
            progress(number, len(pairs), pair.name)
    summary = summarize(rows, convention=convention, tolerance=tolerance_mm)
    notes = tuple(_notes(missing, unmatched))
    folder = Path(out) if out is not None else _beside(predicted.root)
    write_tables(folder, rows, summary, notes)
    sheet = _sheet(folder / "sheet.png", rows, pairs, scheme, Pictures(given, predicted, labeled))
    return Evaluation(summary, rows, folder, sheet, tuple(missing), tuple(unmatched), notes)


@dataclass(frozen=True)
class _Measure:
    """The metrics of a pair; runs in another process too."""

    scheme: Scheme
    tolerance: float
    convention: str
    patients: dict[str, str]

    def __call__(self, pair: Pair) -> list[Row]:
        masks = read_pair(pair, self.scheme)
        return case_metrics(
            masks.prediction,
            masks.reference,
            self.scheme.classes,
            masks.geometry.spacing,
            self.tolerance,
            self.convention,
            ignore=UNKNOWN,
            physical=masks.geometry.physical,
            case=pair.name,
            group=self.patients.get(pair.name, ""),
        )


@dataclass(frozen=True)
class Pictures:
    """Where images and maps are found: given by hand, beside the predictions, in the dataset."""

    given: dict[str, tuple[Path, ...]]
    predicted: Masks
    labeled: Masks

    def image(self, pair: Pair) -> NDArray[Any] | None:
        """(C, Z, Y, X): of several files the first, or None."""
        places = (
            self.given.get(pair.name) or self.given.get(pair.labeled_as),
            self.predicted.images.get(pair.name),
            self.labeled.images.get(pair.labeled_as),
        )
        for files in places:
            if files and (files[0].exists() or is_address(files[0])):
                return _picture(lambda path: read_image([path]).array, files[0])
        return None

    def uncertainty(self, pair: Pair) -> NDArray[Any] | None:
        """(Z, Y, X), or None."""
        path = self.predicted.maps.get(pair.name)
        return _picture(lambda path: read_map(path).array[0], path) if path and path.exists() else None

    def map(self, pair: Pair, name: str) -> NDArray[Any] | None:
        """A further map of the method, (Z, Y, X), which lies beside that of the entropy; None where there is none."""
        entropy = self.predicted.maps.get(pair.name)
        if entropy is None:
            return None
        path = entropy.with_name(entropy.name.replace(f"{pair.name}_entropy", f"{pair.name}_{name}", 1))
        return _picture(lambda path: read_map(path).array[0], path) if path != entropy and path.exists() else None


def _picture(read: Callable[[Path], NDArray[Any]], path: Path) -> NDArray[Any] | None:
    try:
        return read(path)
    except PaucisError as error:
        _LOG.warning("left out of the sheet: %s", error)
        return None


def _sheet(path: Path, rows: Sequence[Row], pairs: Sequence[Pair], scheme: Scheme, pictures: Pictures) -> Path | None:
    scores = mean_dice(rows)
    by_name = {pair.name: pair for pair in pairs}
    panels, changes = [], []
    for what, name in choose(scores):
        pair = by_name[name]
        masks = read_pair(pair, scheme)
        title = f"{what}: {name}, {'mean ' if len(scheme.classes) > 2 else ''}Dice {scores[name]:.3f}"
        images = pictures.image(pair), pictures.uncertainty(pair)
        panels.append(Panel(title, masks.prediction, masks.reference, masks.geometry, *images, ignore=UNKNOWN))
        before, after = (pictures.map(pair, which) for which in REFINED)
        if before is not None and after is not None and before.shape == after.shape == masks.reference.shape:
            changes.append(Change(panels[-1], before, after))
    _draw_changes(path.with_name("changes.png"), changes)
    if not panels:
        with suppress(OSError):
            path.unlink()  # of an earlier evaluation
        return None
    draw(path, panels)
    return path


def _draw_changes(path: Path, changes: Sequence[Change]) -> None:
    if changes:
        draw_changes(path, changes)
        return
    with suppress(OSError):
        path.unlink()  # of an earlier evaluation


def _check(predicted: Masks, labeled: Masks, pairs: list[Pair], missing: list[str], partial: bool) -> None:
    if not pairs:
        raise PaucisError(
            f"nothing to evaluate: no mask in {predicted.root} ({_names(list(predicted.files))}) goes by the name of a "
            f"label in {labeled.root} ({_names(list(labeled.files))}); give both the same names"
        )
    if missing and not partial and not predicted.root.is_file():
        raise PaucisError(
            f"{len(missing)} of {len(labeled.files)} labels in {labeled.root} have no prediction in {predicted.root} "
            f"({_names(missing)}): predict these scans too, or allow it (--partial)"
        )
    for pair in pairs:
        if not pair.prediction.is_file():
            raise PaucisError(f"{pair.prediction} is named in the manifest but missing: predict again")


def _notes(missing: list[str], unmatched: list[str]) -> Iterator[str]:
    if missing:
        yield f"Labels without a prediction, not counted: {len(missing)} ({_names(missing)})."
    if unmatched:
        yield f"Predictions without a label, not counted: {len(unmatched)} ({_names(unmatched)})."


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _values(paths: Iterable[Path], workers: int | None) -> dict[Path, set[int]]:
    files = list(dict.fromkeys(paths))
    return dict(zip(files, over(values_of_file, files, workers), strict=True))


def patients_of(pairs: Sequence[Pair], labeled: Masks, pattern: str | None) -> dict[str, str]:
    """The patient of each pair's case: as the labels' dataset says, or as ``pattern`` finds it in the name."""
    if pattern is None:
        return {pair.name: labeled.groups.get(pair.labeled_as, "") for pair in pairs}
    cases = tuple(Case(pair.name, (pair.prediction,)) for pair in pairs)
    named = regroup(Dataset(labeled.root, "", cases, (), (), ()), pattern)
    return {case.name: case.group for case in named.cases}


def _beside(root: Path) -> Path:
    return (root.parent if root.is_file() else root) / "evaluation"
