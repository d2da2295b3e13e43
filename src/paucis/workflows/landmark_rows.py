"""Landmarks that were found, as rows, tables and figures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paucis.data.case import Geometry
from paucis.data.grid import Point, Trace, planned_point, stored_point
from paucis.evaluation.landmarks import THRESHOLDS, Peak, accuracy, share_of_window
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write_text
from paucis.workflows.landmark_points import AXES


class Row(NamedTuple):
    """A landmark in an image; places are (Z, Y, X) in voxels as stored, counted from 0, Z = 0 in pictures.

    Attributes:
        image: name of the case.
        landmark: name.
        place: the point that was found.
        peak: the voxel of the largest similarity, whose component's centroid ``place`` is.
        similarity: the largest cosine.
        confidence: the largest cosine over that of the next separate peak (``paucis.evaluation.landmarks.Peak``).
        error: distance to the true point in ``unit``; not a number where none is known.
        unit: ``mm``, or ``pixels`` or ``voxels`` of files without lengths.
        share: that distance on the planned grid as a share of the pooling size.
        dims: 2 in a picture, 3 in a volume.
        support: whether the image is a support: its accuracy does not count.
    """

    image: str
    landmark: str
    place: Point
    peak: Point
    similarity: float
    confidence: float
    error: float
    unit: str
    share: float
    dims: int
    support: bool


class Accuracy(NamedTuple):
    """How often a landmark was found: images with a true point, shares of them within each threshold, median error."""

    images: int
    within: tuple[float, ...]
    median: float


def rows_of(
    image: str,
    peaks: Mapping[str, Peak],
    true: Mapping[str, Point],
    trace: Trace,
    window: Sequence[int],
    support: bool,
) -> list[Row]:
    """A row for each landmark.

    Args:
        image: name of the case.
        peaks: by landmark, on the planned grid.
        true: points as stored, of landmarks for which they are known.
        trace: of the case.
        window: pooling size (Z, Y, X) on the planned grid.
        support: whether it is a support.
    """
    rows = []
    for landmark, peak in peaks.items():
        place, error, share = stored_point(peak.center, trace), math.nan, math.nan
        if landmark in true:
            error = _distance(place, true[landmark], trace.geometry)
            share = share_of_window(peak.center, planned_point(true[landmark], trace), window)
        unit = "mm" if trace.geometry.physical else "pixels" if trace.geometry.dims == 2 else "voxels"
        voxel = stored_point(peak.voxel, trace)
        figures = (peak.similarity, peak.confidence, error, unit, share, trace.geometry.dims, support)
        rows.append(Row(image, landmark, place, voxel, *figures))
    return rows


def accuracies(rows: Sequence[Row]) -> dict[str, Accuracy]:
    """The accuracy of each landmark and, of several, of ``all`` together; supports do not count."""
    counted = [row for row in rows if not row.support and not math.isnan(row.share)]
    names = list(dict.fromkeys(row.landmark for row in rows))
    found = {name: _accuracy([row for row in counted if row.landmark == name]) for name in names}
    return found if len(names) == 1 else {**found, "all": _accuracy(counted)}


def write_rows(path: Path, rows: Sequence[Row], known: bool) -> None:
    """Writes the table: a line for each landmark of each image, with errors where true points are known.

    Raises:
        PaucisError: it cannot be written.
    """
    axes = AXES if any(row.dims == 3 for row in rows) else AXES[1:]
    head = ["image", "landmark", *axes, *(f"peak_{axis}" for axis in axes), "similarity", "confidence"]
    head += ["error", "unit", "share"] if known else []
    lines = []
    for row in rows:
        numbers = [*_placed(row.place, row.dims, axes), *_placed(row.peak, row.dims, axes)]
        numbers += [f"{row.similarity:.5g}", f"{row.confidence:.5g}"]
        if known:
            numbers += [_shown(row.error), row.unit, _shown(row.share)]
        lines.append([row.image, row.landmark, *numbers])
    _write(path, head, lines)


def write_accuracy(path: Path, found: Mapping[str, Accuracy]) -> None:
    """Writes the accuracy: a line for each landmark.

    Raises:
        PaucisError: it cannot be written.
    """
    head = ["landmark", "images", *(f"within_{threshold:g}" for threshold in THRESHOLDS), "median_share"]
    lines = [
        [name, str(one.images), *(_shown(share) for share in one.within), _shown(one.median)]
        for name, one in found.items()
    ]
    _write(path, head, lines)


def _accuracy(rows: Sequence[Row]) -> Accuracy:
    shares = sorted(row.share for row in rows)
    middle = (shares[(len(shares) - 1) // 2] + shares[len(shares) // 2]) / 2 if shares else math.nan
    return Accuracy(len(shares), tuple(accuracy(shares)), middle)


def _distance(one: Point, other: Point, geometry: Geometry) -> float:
    spacing = geometry.spacing if geometry.physical else (1.0, 1.0, 1.0)
    return math.dist(
        [a * mm for a, mm in zip(one, spacing, strict=True)], [b * mm for b, mm in zip(other, spacing, strict=True)]
    )


def _placed(place: Point, dims: int, axes: Sequence[str]) -> list[str]:
    shown = [f"{value:.2f}" for value in place]
    return (shown if dims == 3 else ["", *shown[1:]])[3 - len(axes) :]


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5g}"


def _write(path: Path, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *lines])
    write_text(path, text.getvalue(), ELSEWHERE)
