"""From the grid a scan was stored on to the planned one: axes and sizes only, no voxel is touched.

A volume with a physical geometry is turned so that its axes (Z, Y, X) run along the nearest of superior, posterior
and left; nothing is resampled by that, and ``unorient`` undoes it exactly. Where the plan is 2D, the slice axis
comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry

Shape = tuple[int, int, int]
Point = tuple[float, float, float]

COARSE = 1.5
"""An axis whose spacing is so many times the next one's is the slice axis of its scan, whatever the plan says."""
SLENDER = 6
"""In a file without geometry, the slice axis is one that has so many times fewer voxels than the next one."""


class Trace(NamedTuple):
    """How a prepared array came to be; enough to bring a result back to the scan's own grid.

    Attributes:
        geometry: of the scan.
        shape: (Z, Y, X) as stored.
        axes: stored axis that each oriented axis comes from.
        flips: oriented axes that run against the stored ones.
        oriented: shape after permuting and flipping.
        prepared: shape after resampling; voxel centers follow the half-pixel rule (``align_corners=False``).
    """

    geometry: Geometry
    shape: Shape
    axes: Shape
    flips: tuple[int, ...]
    oriented: Shape
    prepared: Shape


def trace_of(
    geometry: Geometry,
    shape: Sequence[int],
    *,
    orient: bool = True,
    slice_axis: int | None = None,
    spacing: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
) -> Trace:
    """Where a scan's voxels go.

    Args:
        geometry: of the scan.
        shape: (Z, Y, X) as stored.
        orient: turn volumes to the nearest superior, posterior, left axes.
        slice_axis: of the oriented axes, the one that comes first and is not resampled (2D plans); a scan with one
            clearly coarser axis has its slices along that one. None for 3D plans.
        spacing: mm of the planned grid, three entries in 3D, two within the slice in 2D.
        size: voxels of the planned grid within the slice, in place of ``spacing``.
    """
    axes, flipped = _nearest(geometry) if orient and geometry.physical and geometry.dims == 3 else ((0, 1, 2), ())
    if slice_axis is not None and geometry.dims == 3:
        first = coarse_axis(geometry, shape)
        first = axes[slice_axis] if first is None else first
        axes, flipped = _first(axes, flipped, axes.index(first))
    oriented = _three([shape[axis] for axis in axes])
    prepared = list(oriented)
    kept = 0 if slice_axis is None else 1
    if size is not None:
        prepared[kept:] = size
    elif spacing is not None and geometry.physical:  # a file without geometry is taken as it is
        for axis, wanted in zip(range(kept, 3), spacing, strict=True):
            prepared[axis] = max(1, round(oriented[axis] * geometry.spacing[axes[axis]] / wanted))
    return Trace(geometry, _three(shape), axes, flipped, oriented, _three(prepared))


def coarse_axis(geometry: Geometry, shape: Sequence[int], factor: float = COARSE) -> int | None:
    """The stored axis of a stack's slices, or None where no axis stands out.

    That is the axis of clearly largest spacing; in files that carry no geometry, the one of clearly fewest voxels.
    """
    if min(shape) == 1 or not geometry.physical:
        few = sorted(range(3), key=lambda axis: shape[axis])
        return few[0] if shape[few[0]] * SLENDER <= shape[few[1]] else None
    wide = sorted(range(3), key=lambda axis: -geometry.spacing[axis])
    return wide[0] if geometry.spacing[wide[0]] >= factor * geometry.spacing[wide[1]] else None


def orient(array: NDArray[Any], trace: Trace) -> NDArray[Any]:
    """An array (..., Z, Y, X) of the scan's grid, with the plan's axes (a view)."""
    lead = array.ndim - 3
    turned = array.transpose(*range(lead), *(lead + axis for axis in trace.axes))
    return _mirrored(turned, [lead + axis for axis in trace.flips])


def unorient(array: NDArray[Any], trace: Trace) -> NDArray[Any]:
    """The inverse of ``orient`` (a view)."""
    lead = array.ndim - 3
    turned = _mirrored(array, [lead + axis for axis in trace.flips])
    back = np.argsort(trace.axes)
    stored: NDArray[Any] = turned.transpose(*range(lead), *(lead + int(axis) for axis in back))
    return stored


def planned_voxel(voxel: Sequence[float], trace: Trace) -> Shape:
    """The voxel (Z, Y, X) of the planned grid whose center is nearest to that of a stored voxel (Z, Y, X)."""
    found = []
    for axis, (stored, old, new) in enumerate(zip(trace.axes, trace.oriented, trace.prepared, strict=True)):
        place = old - 1 - voxel[stored] if axis in trace.flips else voxel[stored]
        found.append(min(int((place + 0.5) * new / old), new - 1))
    return _three(found)


def planned_point(point: Sequence[float], trace: Trace) -> Point:
    """Where a stored place (Z, Y, X) lies on the planned grid, in voxels; whole numbers are voxel centers."""
    found = []
    for axis, (stored, old, new) in enumerate(zip(trace.axes, trace.oriented, trace.prepared, strict=True)):
        place = old - 1 - point[stored] if axis in trace.flips else point[stored]
        found.append((place + 0.5) * new / old - 0.5)
    return found[0], found[1], found[2]


def stored_point(point: Sequence[float], trace: Trace) -> Point:
    """The inverse of ``planned_point``."""
    found = [0.0] * 3
    for axis, (stored, old, new) in enumerate(zip(trace.axes, trace.oriented, trace.prepared, strict=True)):
        place = (point[axis] + 0.5) * old / new - 0.5
        found[stored] = old - 1 - place if axis in trace.flips else place
    return found[0], found[1], found[2]


def _mirrored(array: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
    return array[tuple(slice(None, None, -1 if axis in axes else 1) for axis in range(array.ndim))]


def _nearest(geometry: Geometry) -> tuple[Shape, tuple[int, ...]]:
    """Permutation and flips that bring the stored axes nearest to (superior, posterior, left)."""
    cosines = np.asarray(geometry.direction).reshape(3, 3)[::-1, ::-1]  # world (S, P, L) by stored (Z, Y, X)
    best = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[world, axes[world]]) for world in range(3)))
    return _three(best), tuple(world for world in range(3) if cosines[world, best[world]] < 0)


def _first(axes: Shape, flips: tuple[int, ...], index: int) -> tuple[Shape, tuple[int, ...]]:
    order = [index, *(axis for axis in range(3) if axis != index)]
    return _three([axes[axis] for axis in order]), tuple(new for new, old in enumerate(order) if old in flips)


def _three(values: Sequence[int]) -> Shape:
    z, y, x = (int(value) for value in values)
    return z, y, x
