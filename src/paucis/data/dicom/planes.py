"""Where the slices of a DICOM series lie, and what makes a regular grid of them.

A slice's place is Image Position (Patient) along the normal of Image Orientation (Patient); file names and instance
numbers say nothing of it (DICOM PS3.3, C.7.6.2.1.1). What is no regular grid is refused, and the tag is named.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from paucis.data.case import Geometry
from paucis.data.dicom.core import TOLERANCE as VARIABLE
from paucis.data.dicom.files import reading
from paucis.errors import PaucisError

TOLERANCE_MM = 0.1
POSITION = "Image Position (Patient) (0020,0032)"
ORIENTATION = "Image Orientation (Patient) (0020,0037)"
SPACING = "Pixel Spacing (0028,0030)"
_SAME = 0.01  # mm below which two slices are at one place
_PHASES = {
    "Temporal Position Identifier (0020,0100)": "TemporalPositionIdentifier",
    "Trigger Time (0018,1060)": "TriggerTime",
    "Echo Number (0018,0086)": "EchoNumbers",
    "Diffusion b-value (0018,9087)": "DiffusionBValue",
    "Acquisition Number (0020,0012)": "AcquisitionNumber",
    "Acquisition Time (0008,0032)": "AcquisitionTime",
    "Image Type (0008,0008)": "ImageType",
}


@dataclass(frozen=True)
class Plane:
    """One slice: a file, or a frame of one.

    Attributes:
        path: of the file.
        frame: of the file, from 0.
        position: of its first pixel's center in mm (x, y, z), LPS; None for pictures.
        orientation: direction cosines along a row, then along a column.
        spacing: mm between rows and between columns; None where nothing tells it.
        size: rows and columns.
        thickness: distance to its neighbors as the header tells it, in mm; 0 where it does not.
        slope: stored values are multiplied by it ...
        intercept: ... and this is added.
        traits: what tells phases, echoes and the like apart, by tag.
        number: Instance Number, which says nothing of the place; None where there is none.
    """

    path: Path
    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    size: tuple[int, int]
    thickness: float
    slope: float
    intercept: float
    traits: tuple[tuple[str, str], ...] = ()
    number: int | None = None


def tolerance() -> float:
    """How far in mm a slice may lie from the regular grid: the environment's, else 0.1.

    Raises:
        PaucisError: the variable holds no number.
    """
    given = os.environ.get(VARIABLE, "")
    try:
        value = float(given) if given else TOLERANCE_MM
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise PaucisError(f"{VARIABLE}={given} is no length: set it to millimeters, such as 0.1")
    return value


def read_planes(path: Path) -> list[Plane]:
    """The slices of a file; its pixels are not read.

    Raises:
        PaucisError: damaged, or as ``planes_of``.
    """
    with reading(path):
        return planes_of(pydicom.dcmread(path, stop_before_pixels=True, force=True), path)


def planes_of(header: Any, path: Path) -> list[Plane]:
    """The slices of a file, from its header.

    Raises:
        PaucisError: a multi-frame file does not say where its frames lie, or a slope is 0.
    """
    count = int(header.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" in header or "SharedFunctionalGroupsSequence" in header:
        return [_enhanced(header, path, frame) for frame in range(count)]
    if count > 1:
        raise PaucisError(
            f"{path} has {count} frames without Plane Position Sequence (0020,9113), which tells where they lie: "
            "export it as single slices or as enhanced multi-frame"
        )
    position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    plane = _plane(header, path, 0, position, orientation, header, header)
    if plane.position is None:
        spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
        return [replace(plane, spacing=_pair(spacing))]
    return [plane]


def stack(planes: Sequence[Plane], where: Path) -> tuple[list[Plane], Geometry]:
    """Slices in the order of their place, and the grid they make.

    Args:
        planes: of one series, in any order.
        where: what messages name.

    Returns:
        The slices along the normal (the cross product of row and column direction), and the geometry, whose third
        axis is that normal.

    Raises:
        PaucisError: slices of unlike size, orientation or pixel spacing; two at one place; one missing; unevenly
            spaced ones; a stack that is tilted against its slices.
    """
    first = planes[0]
    if first.position is None or first.orientation is None:
        return _picture(planes, where)
    allowed = tolerance()
    _alike(planes, where, allowed)
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    ordered = sorted(planes, key=lambda plane: float(np.dot(plane.position or (), normal)))
    points = np.array([plane.position for plane in ordered])
    places: NDArray[np.float64] = points @ normal
    step = first.thickness or 1.0
    if len(ordered) > 1:
        step = _regular(places, ordered, where, allowed)
        drift = points - places[:, None] * normal
        lean = float(np.linalg.norm(drift - drift[0], axis=1).max())
        if lean > allowed:
            raise PaucisError(
                f"{where}: tilted stack: {POSITION} shifts by {lean:.3g} mm within the slices' plane (gantry tilt; "
                f"allowed: {allowed:g} mm): resample it to a right-angled grid first"
            )
    spacing = first.spacing or (1.0, 1.0)
    return ordered, Geometry(
        spacing=(step, *spacing),
        origin=(float(points[0, 0]), float(points[0, 1]), float(points[0, 2])),
        direction=tuple(float(value) for value in np.stack([row, column, normal], 1).ravel()),
        physical=True,
        suffix=".dcm",
    )


def _regular(places: NDArray[np.float64], planes: Sequence[Plane], where: Path, allowed: float) -> float:
    """The distance between slices, once it is the same everywhere."""
    gaps = np.diff(places)
    same = np.flatnonzero(gaps < _SAME)
    if same.size:
        raise PaucisError(_duplicates(same.tolist(), planes, where))
    step = float(np.median(gaps))
    for number, gap in enumerate(gaps.tolist()):
        between = round(gap / step) - 1
        if between >= 1 and abs(gap - (between + 1) * step) <= allowed * (between + 1):
            slices = "1 slice is" if between == 1 else f"{between} slices are"
            raise PaucisError(
                f"{where}: {slices} missing: {POSITION} jumps by {gap:.4g} mm after {planes[number].path.name}, "
                f"elsewhere by {step:.4g} mm: export the whole series"
            )
    mean = float(places[-1] - places[0]) / len(gaps)
    off = np.abs(places - (places[0] + mean * np.arange(len(places))))
    if off.max() > allowed:
        raise PaucisError(
            f"{where}: unevenly spaced slices: {POSITION} of {planes[int(off.argmax())].path.name} is {off.max():.3g} "
            f"mm off a regular grid (allowed: {allowed:g} mm): resample the series, or set {VARIABLE}"
        )
    return mean


def _duplicates(same: Sequence[int], planes: Sequence[Plane], where: Path) -> str:
    one, other = planes[same[0]], planes[same[0] + 1]
    differing = [tag for (tag, value), (_, again) in zip(one.traits, other.traits, strict=False) if value != again]
    reason = f"; they differ in {differing[0]}" if differing else ""
    remedy = "keep the files of one phase, echo or volume" if differing else "remove the copies"
    files = one.path.name if one.path == other.path else f"{one.path.name} and {other.path.name}"
    return f"{where}: {len(same)} duplicate slices: {POSITION} is the same in {files}{reason}: {remedy}"


def _alike(planes: Sequence[Plane], where: Path, allowed: float) -> None:
    first = planes[0]
    width = max(first.size) * max(first.spacing or (1.0, 1.0))
    for plane in planes:
        name = plane.path.name
        if plane.size != first.size:
            raise PaucisError(
                f"{where}: slices of different size: Rows (0028,0010) and Columns (0028,0011) are "
                f"{plane.size[0]}x{plane.size[1]} in {name} and {first.size[0]}x{first.size[1]} in {first.path.name}: "
                "separate them"
            )
        if plane.position is None or plane.orientation is None:
            raise PaucisError(f"{where}: {name} has no {POSITION if plane.orientation else ORIENTATION}: remove it")
        if _apart(plane.orientation, first.orientation) * width > allowed:
            raise PaucisError(
                f"{where}: {ORIENTATION} of {name} differs from that of {first.path.name}: keep parallel slices only"
            )
        if plane.spacing is None or _apart(plane.spacing, first.spacing) * max(first.size) > allowed:
            raise PaucisError(
                f"{where}: {SPACING} of {name} is missing or differs from {first.path.name}: separate them"
            )
    axes = np.array(first.orientation)
    row, column = axes[:3], axes[3:]
    off = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(float(row @ column)))
    if off > 1e-3:
        raise PaucisError(f"{where}: {ORIENTATION} holds no two directions at right angles: mend it")


def _apart(one: Sequence[float], other: Sequence[float] | None) -> float:
    return max(abs(a - b) for a, b in zip(one, other or (), strict=True))


def _picture(planes: Sequence[Plane], where: Path) -> tuple[list[Plane], Geometry]:
    if len(planes) > 1:
        raise PaucisError(f"{where}: {len(planes)} pictures without {POSITION} are no volume: give them one by one")
    spacing = planes[0].spacing
    return list(planes), Geometry(
        spacing=(1.0, *(spacing or (1.0, 1.0))), physical=spacing is not None, suffix=".dcm", dims=2
    )


def _enhanced(header: Any, path: Path, frame: int) -> Plane:
    place = group(header, frame, "PlanePositionSequence").get("ImagePositionPatient")
    turned = group(header, frame, "PlaneOrientationSequence").get("ImageOrientationPatient")
    if place is None and int(header.get("NumberOfFrames") or 1) > 1:
        raise PaucisError(
            f"{path}: frame {frame + 1} has no Plane Position Sequence (0020,9113), which tells where it lies: "
            "export it as single slices"
        )
    measures = group(header, frame, "PixelMeasuresSequence")
    values = group(header, frame, "PixelValueTransformationSequence")
    return _plane(header, path, frame, place, turned, measures, values or header)


def group(header: Any, frame: int, name: str) -> Any:
    """A functional group of a frame: its own, else the shared one, else empty."""
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for item in (*own[frame : frame + 1], *shared[:1]):
        if found := item.get(name):
            return found[0]
    return {}


def _plane(
    header: Any, path: Path, frame: int, position: Any, orientation: Any, measures: Any, transformation: Any
) -> Plane:
    slope = transformation.get("RescaleSlope")
    if slope is not None and float(slope) == 0:
        raise PaucisError(f"{path}: Rescale Slope (0028,1053) is 0, which makes all values equal: mend it")
    content = group(header, frame, "FrameContentSequence")
    traits = [(tag, str(content.get(key) or header.get(key) or "")) for tag, key in _PHASES.items()]
    between, number = abs(float(measures.get("SpacingBetweenSlices") or 0)), header.get("InstanceNumber")
    return Plane(
        path=path,
        frame=frame,
        position=tuple(map(float, position)) if position else None,
        orientation=tuple(map(float, orientation)) if orientation else None,
        spacing=_pair(measures.get("PixelSpacing")),
        size=(int(header.Rows), int(header.Columns)),
        thickness=between or float(measures.get("SliceThickness") or 0),
        slope=1.0 if slope is None else float(slope),
        intercept=float(transformation.get("RescaleIntercept") or 0),
        traits=tuple(traits),
        number=int(number) if number is not None else None,
    )


def _pair(spacing: Any) -> tuple[float, float] | None:
    if not spacing:
        return None
    rows, columns = (float(value) for value in spacing)
    return (rows, columns) if rows > 0 and columns > 0 else None
