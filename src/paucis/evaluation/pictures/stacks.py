"""The slices of a case to leaf through: upright, cut to the part that matters, spread over the part with objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry
from paucis.data.grid import Trace, orient, trace_of
from paucis.evaluation.pictures.slices import CONFUSED, EXTRA, MISSED, RIGHT, UNKNOWN, kinds_of, part_of, rows_point_up


@dataclass(frozen=True)
class Stack:
    """Which slices of a scan are shown, and how.

    Attributes:
        trace: how the scan is turned.
        upside: step along the rows, -1 where they are turned upside down.
        places: of the slices along the turned scan's first axis, ascending.
        first: index among ``places`` of the slice to begin with, the one with the most wrong voxels.
        part: rows and columns that are shown.
        aspect: height of a pixel over its width.
    """

    trace: Trace
    upside: int
    places: tuple[int, ...]
    first: int
    part: tuple[slice, slice]
    aspect: float

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the slices as the file counts them, from 1."""
        count = self.count
        return tuple(count - place if 0 in self.trace.flips else place + 1 for place in self.places)

    @property
    def count(self) -> int:
        """Slices of the scan."""
        return self.trace.oriented[0]

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """The slices of an array (..., Z, Y, X) on the scan's grid, as (..., slices, rows, columns)."""
        turned = orient(array, self.trace)[..., list(self.places), :, :]
        shown: NDArray[Any] = turned[..., :: self.upside, :][..., self.part[0], self.part[1]]
        return shown


def stack_of(
    predictions: Sequence[NDArray[np.integer]],
    reference: NDArray[np.integer],
    geometry: Geometry,
    most: int,
    ignore: int = 255,
) -> Stack:
    """The slices to show of one case, along the scan's coarsest axis.

    At most ``most``, evenly from the first slice with a mask or a reference to the last, the one with the most wrong
    voxels (or the largest object, where none is wrong) among them.

    Args:
        predictions: class indices (Z, Y, X) of one or several sets.
        reference: of the same shape; ``ignore`` where nothing is known.
        geometry: of the masks.
        most: slices, 1 or more.
        ignore: value of the reference that marks unknown voxels.
    """
    trace = trace_of(geometry, reference.shape, slice_axis=0)
    kinds = [orient(kinds_of(one, reference, ignore), trace) for one in predictions]
    wrong = sum((np.isin(one, (EXTRA, MISSED, CONFUSED))).sum(axis=(1, 2)) for one in kinds)
    shown = np.any([(one > 0) & (one != UNKNOWN) for one in kinds], axis=0)
    begin = int(np.argmax(wrong if np.any(wrong) else (kinds[0] == RIGHT).sum(axis=(1, 2))))
    there = np.flatnonzero(shown.any(axis=(1, 2)))
    places = tuple(range(there[0], there[-1] + 1)) if len(there) else tuple(range(len(shown)))
    places = _spread(places, most, begin)
    upside = rows_point_up(trace)
    spacing = [geometry.spacing[axis] for axis in trace.axes] if geometry.physical else [1.0] * 3
    flat = np.where(shown.any(axis=0), RIGHT, 0).astype(np.uint8)[::upside]
    aspect = spacing[1] / spacing[2]
    return Stack(trace, upside, places, places.index(begin), part_of([flat], aspect), aspect)


def _spread(places: Sequence[int], most: int, kept: int) -> tuple[int, ...]:
    """So many of ``places``, evenly, with the nearest to ``kept`` moved there."""
    if len(places) <= most:
        return tuple(places)
    chosen = np.unique(np.linspace(0, len(places) - 1, most).round().astype(int)) if most > 1 else np.array([0])
    spread = np.asarray(places)[chosen]
    spread[int(np.argmin(np.abs(spread - kept)))] = kept
    return tuple(int(place) for place in spread)
