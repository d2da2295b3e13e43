"""Reliability: do a prediction's probabilities come true, and does its uncertainty tell where it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data.formats import read_map
from paucis.errors import PaucisError
from paucis.evaluation.masks.finding import Masks, Pair, find_labels, find_predictions, match
from paucis.evaluation.masks.maps import UNCERTAINTY, find_maps
from paucis.evaluation.masks.reading import CasePair, Scheme, agree, read_pair, values_of_file
from paucis.evaluation.masks.values import UNKNOWN
from paucis.evaluation.reliability.cases import REGIONS, CaseSums, Sums, measure
from paucis.evaluation.reliability.pictures import Curve, draw_reliability
from paucis.evaluation.reliability.structures import Checked, agreement, read_structures
from paucis.evaluation.reliability.tables import RULES, Figure, rows_of, summarize, write_reliability
from paucis.workflows.evaluate import patients_of

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""

REGION = REGIONS[0]
"""Shown in full in the picture."""


@dataclass(frozen=True)
class Reliability:
    """What was found, and where it lies.

    Attributes:
        out: folder with ``reliability.csv``, ``.json``, ``.md`` and ``.png``.
        summary: means over patients by region, class and figure.
        structures: by class, how far scores and volume intervals of ``cases.csv`` can be trusted.
        rows: every figure of every case.
        notes: what a reader has to know.
        pooled: the voxels of all cases, by region.
        curves: risk-coverage curve of each case by the first map, in ``REGION``.
    """

    out: Path
    summary: dict[str, dict[str, dict[str, Figure]]]
    structures: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    notes: tuple[str, ...]
    pooled: dict[str, Sums]
    curves: list[Curve]


def reliability(
    predictions: str | Path,
    labels: str | Path,
    *,
    out: str | Path | None = None,
    group: str | None = None,
    series: str | None = None,
    partial: bool = False,
    progress: Progress | None = None,
) -> Reliability:
    """Measures calibration and error detection of a folder that ``predict`` wrote.

    Args:
        predictions: the folder, with the maps of confidence and entropy that ``predict`` writes unless told otherwise.
            With maps of probabilities too (``predict --probabilities``), each class is judged for itself, and the Brier
            score is known.
        labels: dataset or folder of reference masks.
        out: folder for the results; ``PREDICTIONS/reliability`` by default.
        group: regular expression that finds the patient in a case's name; means and intervals are over patients.
        series: of labels in a DICOM dataset, the series that are cases (``data.series``).
        partial: allow labels without a prediction.
        progress: told after every case.

    Raises:
        PaucisError: no maps, masks that do not fit together, or results that cannot be written.
    """
    folder = Path(predictions)
    predicted, labeled = find_predictions(folder), find_labels(Path(labels), series)
    maps = find_maps(folder)
    pairs, missing, _ = match(predicted, labeled)
    _check(predicted, labeled, pairs, missing, partial)
    scheme = agree(predicted, labeled, pairs, None, _values)
    patients = patients_of(pairs, labeled, group)
    structures = {(one.case, one.name): one for one in read_structures(folder)}
    rows: list[dict[str, Any]] = []
    curves: list[Curve] = []
    checked: list[Checked] = []
    pooled = {region: Sums() for region in REGIONS}
    for number, pair in enumerate(pairs, 1):
        masks = read_pair(pair, scheme)
        sums = _sums(folder, pair, masks, scheme, maps.get(pair.name, {}))
        rows += rows_of(CaseSums(pair.name, patients.get(pair.name) or pair.name, sums))
        for region, found in sums.items():
            pooled[region].join(found)
        first = next(iter(sums[REGION].errors.values()), None)
        if first is not None and first.count.sum():
            curves.append(first.risk_coverage())
        for label, name in enumerate(scheme.classes):
            if label and (pair.name, name) in structures:
                checked.append(Checked(structures[pair.name, name], *_truth(masks, label)))
        if progress:
            progress(number, len(pairs))
    summary = summarize(rows)
    by_class = {
        name: agreement([one for one in checked if one.structure.name == name])
        for name in dict.fromkeys(one.structure.name for one in checked)
    }
    notes = tuple(_notes(rows, missing))
    place = Path(out) if out is not None else folder / "reliability"
    write_reliability(place, rows, summary, {"structures": by_class}, notes)
    draw_reliability(place / "reliability.png", pooled, curves, REGION)
    return Reliability(place, summary, by_class, rows, notes, pooled, curves)


def _sums(folder: Path, pair: Pair, masks: CasePair, scheme: Scheme, maps: dict[str, Path]) -> dict[str, Sums]:
    """The sums of a case; maps are read one at a time."""
    shape = masks.reference.shape

    def reader(path: Path) -> Callable[[], NDArray[Any]]:
        def read() -> NDArray[Any]:
            array: NDArray[Any] = read_map(path).array[0]
            if array.shape != shape:
                raise PaucisError(f"{path} has another size than the mask of {pair.name}: predict again")
            return array

        return read

    names = [f"probability_{value}" for value in scheme.predicted]
    probabilities = [reader(maps[name]) for name in names] if all(name in maps for name in names) else []
    if "confidence" in maps:
        confidence = reader(maps["confidence"])
    elif probabilities:
        confidence = lambda: np.max([read() for read in probabilities], axis=0)  # noqa: E731
    else:
        raise PaucisError(
            f"{folder} has no map of the confidence of {pair.name}: predict with predict.maps=confidence,entropy, or "
            "--probabilities"
        )
    doubts = {name: reader(maps[name]) for name in UNCERTAINTY if name in maps and name != "confidence"}
    doubts["confidence"] = confidence
    return measure(masks.prediction, masks.reference, scheme.classes, confidence, probabilities, doubts, ignore=UNKNOWN)


def _truth(masks: CasePair, label: int) -> tuple[float, float]:
    """Dice of a class and the volume of its reference, in mL or pixels."""
    known = masks.reference != UNKNOWN
    ours, theirs = (masks.prediction == label) & known, masks.reference == label
    both, either = np.count_nonzero(ours & theirs), np.count_nonzero(ours) + np.count_nonzero(theirs)
    voxel = math.prod(masks.geometry.spacing) / 1000 if masks.geometry.physical else 1.0
    return 2 * both / either if either else math.nan, float(np.count_nonzero(theirs)) * voxel


def _check(predicted: Masks, labeled: Masks, pairs: Sequence[Pair], missing: Sequence[str], partial: bool) -> None:
    if not pairs:
        raise PaucisError(f"no mask in {predicted.root} goes by the name of a label in {labeled.root}")
    if missing and not partial:
        raise PaucisError(
            f"{len(missing)} of {len(labeled.files)} labels in {labeled.root} have no prediction in {predicted.root} "
            f"({missing[0]} the first): predict these scans too, or allow it (--partial)"
        )


def _notes(rows: Sequence[dict[str, Any]], missing: Sequence[str]) -> Iterable[str]:
    yield from RULES
    if not any("class" in row and row["class"] != rows[0]["class"] for row in rows):
        yield "No maps of probabilities: no Brier score and no line per class (predict with --probabilities)."
    if missing:
        yield f"Labels without a prediction, not counted: {len(missing)}."


def _values(paths: Iterable[Path]) -> dict[Path, set[int]]:
    return {path: values_of_file(path) for path in dict.fromkeys(paths)}
