"""What of a case is worth showing: its most wrong slice, upright, cut to the part that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry
from paucis.data.grid import Trace, orient, trace_of

RIGHT, EXTRA, MISSED, CONFUSED, UNKNOWN = 1, 2, 3, 4, 5
"""Kinds of pixels: true positive, false positive, false negative, another class than the reference's, not counted."""


@dataclass(frozen=True)
class Panel:
    """One case to show.

    Attributes:
        title: what stands above its row.
        prediction: class indices (Z, Y, X).
        reference: class indices (Z, Y, X); ``ignore`` where nothing is known.
        geometry: of the masks.
        image: (C, Z, Y, X), or None.
        uncertainty: (Z, Y, X), or None.
        ignore: value of the reference that marks unknown voxels.
    """

    title: str
    prediction: NDArray[np.integer]
    reference: NDArray[np.integer]
    geometry: Geometry
    image: NDArray[Any] | None = None
    uncertainty: NDArray[Any] | None = None
    ignore: int = 255


@dataclass(frozen=True)
class Slice:
    """Pictures of one size (Y, X).

    Attributes:
        kinds: kind of each pixel, 0 where prediction and reference are background.
        image: gray (Y, X) or color (Y, X, 3), both in [0, 1], or None.
        uncertainty: (Y, X), or None.
        aspect: height of a pixel over its width.
        index: number of the slice along the scan's slice axis, as stored.
        count: slices of the scan.
    """

    kinds: NDArray[np.uint8]
    image: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None
    aspect: float
    index: int
    count: int


def worst_slice(panel: Panel) -> Slice:
    """The slice with the most wrong voxels, or with the largest object where nothing is wrong.

    Slices run along the scan's coarsest axis and stand upright (anterior or superior on top) where the file says how
    it lies. Images or maps of another size than the masks are left out.
    """
    return common_slices([panel])[0]


def common_slices(panels: Sequence[Panel]) -> list[Slice]:
    """The same slice and part of several predictions of one case: that with the most wrong voxels over all of them.

    Args:
        panels: with equal references and geometries; as ``worst_slice`` otherwise.
    """
    geometry, shape = panels[0].geometry, panels[0].reference.shape
    turn = trace_of(geometry, shape, slice_axis=0)
    kinds = [orient(kinds_of(panel.prediction, panel.reference, panel.ignore), turn) for panel in panels]
    wrong = sum(((one == EXTRA) | (one == MISSED) | (one == CONFUSED)).sum(axis=(1, 2)) for one in kinds)
    chosen = int(np.argmax(wrong if np.any(wrong) else (kinds[0] == RIGHT).sum(axis=(1, 2))))
    upside = rows_point_up(turn)
    spacing = [geometry.spacing[axis] for axis in turn.axes] if geometry.physical else [1.0] * 3
    shown = [one[chosen][::upside] for one in kinds]
    part = part_of(shown, spacing[1] / spacing[2])

    def cut(array: NDArray[Any] | None) -> NDArray[Any] | None:
        if array is None or array.shape[-3:] != shape:
            return None
        picture: NDArray[Any] = orient(array, turn)[..., chosen, ::upside, :][..., part[0], part[1]]
        return picture

    def uncertain(panel: Panel) -> NDArray[np.float32] | None:
        picture = cut(panel.uncertainty)
        return None if picture is None else np.nan_to_num(picture.astype(np.float32))

    return [
        Slice(
            kinds=one[part],
            image=picture_of(cut(panel.image)),
            uncertainty=uncertain(panel),
            aspect=spacing[1] / spacing[2],
            index=len(kinds[0]) - 1 - chosen if 0 in turn.flips else chosen,
            count=len(kinds[0]),
        )
        for panel, one in zip(panels, shown, strict=True)
    ]


def kinds_of(prediction: NDArray[np.integer], reference: NDArray[np.integer], ignore: int) -> NDArray[np.uint8]:
    """The kind of each voxel, 0 where both are background; of class indices of any equal shape."""
    kinds = np.zeros(reference.shape, dtype=np.uint8)
    kinds[(prediction > 0) & (reference == 0)] = EXTRA
    kinds[(prediction == 0) & (reference > 0)] = MISSED
    kinds[(prediction > 0) & (reference > 0) & (prediction != reference)] = CONFUSED
    kinds[(prediction > 0) & (prediction == reference)] = RIGHT
    kinds[reference == ignore] = UNKNOWN
    return kinds


def rows_point_up(turn: Trace) -> int:
    """-1 where rows run towards the head, which belongs on top: coronal and sagittal slices."""
    if not turn.geometry.physical or turn.geometry.dims == 2:
        return 1
    head = trace_of(turn.geometry, turn.shape).axes[0]
    return -1 if turn.axes[1] == head else 1


def part_of(several: Sequence[NDArray[np.uint8]], aspect: float) -> tuple[slice, slice]:
    """The square around the objects with as much again around it; everything where nothing is gained."""
    rows, columns = np.nonzero(np.any([(kinds > 0) & (kinds != UNKNOWN) for kinds in several], axis=0))
    if not len(rows):
        return slice(None), slice(None)
    tall, wide = (float(np.ptp(rows)) + 1) * aspect, float(np.ptp(columns)) + 1
    side = 1.8 * max(tall, wide, 16.0)
    return _window(rows, side / aspect, several[0].shape[0]), _window(columns, side, several[0].shape[1])


def _window(positions: NDArray[np.intp], size: float, limit: int) -> slice:
    if size > 0.8 * limit:
        return slice(0, limit)
    start = round((int(positions.min()) + int(positions.max()) + 1 - size) / 2)
    start = max(0, min(start, limit - round(size)))
    return slice(start, start + round(size))


def picture_of(image: NDArray[Any] | None) -> NDArray[np.float32] | None:
    """(C, Y, X) as a picture in [0, 1]: color where there are three bytes, else the first channel, windowed."""
    if image is None:
        return None
    if image.shape[0] == 3 and image.dtype == np.uint8:
        return (np.moveaxis(image, 0, -1) / 255).astype(np.float32)
    gray = np.nan_to_num(image[0].astype(np.float64))
    low, high = np.percentile(gray, (0.5, 99.5))
    shown: NDArray[np.float32] = np.clip((gray - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    return shown
