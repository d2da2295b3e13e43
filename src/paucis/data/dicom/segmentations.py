"""DICOM segmentations as masks: binary, fractional and label maps, laid onto the grid of an image.

A voxel belongs to the segment with the largest fraction there, if that is at least one half; among equals, and so
wherever binary segments overlap, to the one of the highest Segment Number, since details (a tumor) are numbered after
what holds them (an organ). The values are segment numbers, or what ``FILE#1=2,2=1`` maps them to.

Frames are laid by position and orientation, not by frame number: a segmentation leaves empty frames out, and may have
its axes in another order than the image (DICOM PS3.3, A.51 and C.8.20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from paucis.data.case import Geometry, Grid, Volume
from paucis.data.dicom.files import reading
from paucis.data.dicom.pixels import frames
from paucis.data.dicom.planes import POSITION, SPACING, Plane, group, planes_of, tolerance
from paucis.errors import PaucisError

_BACKGROUND = ("125040", "DCM")


@dataclass(frozen=True)
class Segment:
    """What a segmentation says of a segment: number, label, and the codes (value, scheme, meaning) of what it is."""

    number: int
    label: str
    category: tuple[str, str, str]
    kind: tuple[str, str, str]


@dataclass(frozen=True)
class _Frame:
    plane: Plane
    number: int  # of the segment; 0 in label maps, which hold the numbers


@dataclass(frozen=True)
class Segmentation:
    """A segmentation object, its pixels not yet read."""

    path: Path
    kind: str
    maximum: float
    padding: int | None
    segments: tuple[Segment, ...]
    frames: tuple[_Frame, ...]
    frame_of_reference: str

    @property
    def placed(self) -> bool:
        return self.frames[0].plane.position is not None


def open_segmentation(path: Path) -> Segmentation:
    """What a segmentation holds, from its header.

    Raises:
        PaucisError: damaged, not a segmentation, or one of a whole-slide image.
    """
    with reading(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if header.get("Modality") != "SEG" or "SegmentSequence" not in header:
            raise PaucisError(f"{path} is no DICOM segmentation (Modality (0008,0060) is {header.get('Modality')})")
        if "TotalPixelMatrixRows" in header:
            raise PaucisError(f"{path} is a segmentation of a whole-slide image, which paucis does not read: remove it")
        kind = str(header.get("SegmentationType") or "BINARY")
        planes = planes_of(header, path) if _has_places(header) else _unplaced(header, path)
        numbers = [0 if kind == "LABELMAP" else _number(header, plane.frame) for plane in planes]
        return Segmentation(
            path=path,
            kind=kind,
            maximum=float(header.get("MaximumFractionalValue") or 1) if kind == "FRACTIONAL" else 1.0,
            padding=header.get("PixelPaddingValue"),
            segments=segments_of(header),
            frames=tuple(_Frame(plane, number) for plane, number in zip(planes, numbers, strict=True)),
            frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        )


def segments_of(header: Any) -> tuple[Segment, ...]:
    """The segments that a header describes, the background of label maps left out."""
    found = []
    for item in header.SegmentSequence:
        kind = _code(item.get("SegmentedPropertyTypeCodeSequence"))
        if kind[:2] == _BACKGROUND or int(item.SegmentNumber) == 0:
            continue
        label = " ".join(str(item.get("SegmentLabel") or "").split()) or f"segment {item.SegmentNumber}"
        category = _code(item.get("SegmentedPropertyCategoryCodeSequence"))
        found.append(Segment(int(item.SegmentNumber), label, category, kind))
    return tuple(found)


def own_grid(several: Sequence[Segmentation]) -> Grid:
    """The smallest grid that holds all frames of these segmentations, which must lie on one.

    Raises:
        PaucisError: frames at distances that are no multiples of one.
    """
    first = several[0].frames[0].plane
    path = several[0].path
    if first.position is None or first.orientation is None:
        geometry = Geometry(physical=False, suffix=".dcm", dims=2)
        return Grid((1, *first.size), geometry)
    planes = [frame.plane for one in several for frame in one.frames]
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    places = np.array([np.dot(plane.position or (), normal) for plane in planes])
    low = planes[int(places.argmin())]
    steps = np.diff(np.unique(np.round(places, 4)))
    steps = steps[steps > 0.01]
    step = first.thickness or (float(steps.min()) if steps.size else 1.0)
    if steps.size and not _multiples(steps, step):
        step = float(steps.min())
    if not _multiples(steps, step):
        raise PaucisError(f"{path}: unevenly spaced frames: {POSITION} is on no regular grid: name its image too")
    depth = round(float(places.max() - places.min()) / step) + 1
    place = low.position or (0.0, 0.0, 0.0)
    geometry = Geometry(
        spacing=(step, *(first.spacing or (1.0, 1.0))),
        origin=(place[0], place[1], place[2]),
        direction=tuple(float(value) for value in np.stack([row, column, normal], 1).ravel()),
        suffix=".dcm",
    )
    return Grid((depth, *first.size), geometry)


def lay(segmentation: Segmentation, grid: Grid, values: Mapping[int, int] | None = None) -> Volume:
    """The mask on a grid, (1, Z, Y, X).

    Args:
        segmentation: what to read.
        grid: of the image.
        values: what segment numbers become; others stay as they are.

    Raises:
        PaucisError: frames that are no slices of the grid within the tolerance, foreground outside it, or a label
            map with a value that no segment has.
    """
    path = segmentation.path
    pixels = frames(path)[..., 0]
    known = {0, *(segment.number for segment in segmentation.segments)}
    most = max((*known, *(values or {}).values()))
    mask = np.zeros(grid.shape, np.min_scalar_type(most))
    best = np.zeros(grid.shape, np.float32)
    for frame in sorted(segmentation.frames, key=lambda frame: frame.number):
        content = pixels[frame.plane.frame]
        if segmentation.kind == "LABELMAP":
            content = np.where(content == segmentation.padding, 0, content) if segmentation.padding else content
            strange = sorted(set(np.unique(content).tolist()) - known)
            if strange:
                raise PaucisError(
                    f"{path} holds {strange[0]}, which Segment Sequence (0062,0002) does not name: mend it"
                )
            share, numbers = (content > 0).astype(np.float32), content
        else:
            share = content.astype(np.float32) / segmentation.maximum
            numbers = np.full(content.shape, frame.number)
        wins = share >= 0.5
        where = _voxels(frame.plane, np.argwhere(wins), grid, path)
        better = share[wins] >= best[where]
        where = tuple(axis[better] for axis in where)
        mask[where], best[where] = numbers[wins][better], share[wins][better]
    if values:
        table = np.arange(most + 1)
        table[list(values)] = list(values.values())
        mask = table[mask].astype(mask.dtype)
    return Volume(mask[None], replace(grid.geometry, suffix=".dcm"))


def _voxels(plane: Plane, pixels: NDArray[np.intp], grid: Grid, path: Path) -> tuple[NDArray[np.intp], ...]:
    """Where pixels (n, 2) of a frame lie in the grid, as indices (z, y, x)."""
    if plane.position is None or plane.orientation is None or not grid.geometry.physical:
        if grid.shape != (1, *plane.size):
            raise PaucisError(
                f"{path} has {plane.size[0]}x{plane.size[1]} pixels and no {POSITION}, its image "
                f"{'x'.join(map(str, grid.shape))} voxels: make it of the image's own grid"
            )
        return (np.zeros(len(pixels), np.intp), pixels[:, 0], pixels[:, 1])
    spacing = plane.spacing or (1.0, 1.0)
    sizes = np.array(grid.geometry.spacing[::-1])
    turn = np.reshape(grid.geometry.direction, (3, 3)).T / sizes[:, None]  # mm to voxels (x, y, z)
    down = turn @ np.array(plane.orientation[3:]) * spacing[0]
    right = turn @ np.array(plane.orientation[:3]) * spacing[1]
    start = turn @ (np.array(plane.position) - np.array(grid.geometry.origin))
    _fits(plane, start, down, right, sizes, path)
    found = np.rint(start).astype(np.intp) + pixels @ np.rint(np.stack([down, right])).astype(np.intp)
    found = found[:, ::-1]
    if len(found) and ((found < 0).any() or (found >= np.array(grid.shape)).any()):
        raise PaucisError(
            f"{path}: frame {plane.frame + 1} marks voxels outside its image: {POSITION} does not fit, "
            "give the segmentation of this image"
        )
    return found[:, 0], found[:, 1], found[:, 2]


def _fits(
    plane: Plane,
    start: NDArray[np.float64],
    down: NDArray[np.float64],
    right: NDArray[np.float64],
    sizes: NDArray[np.float64],
    path: Path,
) -> None:
    """Every pixel must lie on a voxel of its own, none farther off than the tolerance."""
    allowed = tolerance()
    for axis, length in ((down, plane.size[0]), (right, plane.size[1])):
        whole = np.rint(axis)
        if np.abs(whole).sum() != 1 or np.linalg.norm((axis - whole) * sizes) * max(length - 1, 1) > 2 * allowed:
            raise PaucisError(
                f"{path}: {SPACING} or Image Orientation (Patient) (0020,0037) is not that of its image: resample the "
                "segmentation to the image's grid"
            )
    off = float(np.linalg.norm((start - np.rint(start)) * sizes))
    if off > allowed:
        raise PaucisError(
            f"{path}: frame {plane.frame + 1} lies {off:.3g} mm between the voxels of its image ({POSITION}; allowed: "
            f"{allowed:g} mm): resample the segmentation to the image's grid"
        )


def _multiples(steps: Iterable[float], step: float) -> bool:
    return all(abs(gap - round(gap / step) * step) <= tolerance() and round(gap / step) > 0 for gap in steps)


def _has_places(header: Any) -> bool:
    return "ImagePositionPatient" in group(header, 0, "PlanePositionSequence")


def _unplaced(header: Any, path: Path) -> list[Plane]:
    size = (int(header.Rows), int(header.Columns))
    count = int(header.get("NumberOfFrames") or 1)
    return [Plane(path, frame, None, None, None, size, 0.0, 1.0, 0.0) for frame in range(count)]


def _number(header: Any, frame: int) -> int:
    number = group(header, frame, "SegmentIdentificationSequence").get("ReferencedSegmentNumber")
    if number is None and len(header.SegmentSequence) == 1:
        number = header.SegmentSequence[0].SegmentNumber
    return int(number)


def _code(sequence: Any) -> tuple[str, str, str]:
    item = sequence[0] if sequence else {}
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or "")
