"""The choices of a plan: dimensions, grid and patch, from what is known of the training cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from paucis.data.facts import CaseFacts
from paucis.data.grid import Trace, coarse_axis, trace_of
from paucis.data.options import DataOptions
from paucis.data.patching import asked_patch, plan_patch, plan_size
from paucis.errors import PaucisError

ANISOTROPY = 3.0
FEW_SLICES = 40


def is_physical(case: CaseFacts) -> bool:
    """Whether the case is a volume that knows where its voxels lie."""
    return case.geometry.physical and case.geometry.dims == 3


def _is_stack(case: CaseFacts) -> bool:
    axis = coarse_axis(case.geometry, case.shape, ANISOTROPY)
    return axis is not None and case.shape[axis] <= FEW_SLICES


def choose_ndim(known: Sequence[CaseFacts], options: DataOptions) -> int:
    """2 for pictures, and where most volumes are stacks of few slices at least three times as thick as wide."""
    flat = [case.name for case in known if case.geometry.dims == 2]
    if options.dims == "3" and flat:
        raise PaucisError(f"data.dims=3: case '{flat[0]}' is a picture; use data.dims=2")
    if options.dims != "auto":
        return int(options.dims)
    return 2 if flat or sum(map(_is_stack, known)) * 2 > len(known) else 3


def choose_slice_axis(known: Sequence[CaseFacts]) -> int:
    """The oriented axis along which most stacks have their slices; 0 where there are no stacks."""
    found = Counter(
        trace_case(case, None, None, None).axes.index(axis)
        for case in known
        if case.geometry.dims == 3 and (axis := coarse_axis(case.geometry, case.shape)) is not None
    )
    return found.most_common(1)[0][0] if found else 0


def choose_grid(
    known: Sequence[CaseFacts], options: DataOptions, ndim: int, slice_axis: int | None
) -> tuple[tuple[float, ...] | None, tuple[int, ...] | None]:
    """Spacing or size of the planned grid."""
    pictures = all(case.geometry.dims == 2 for case in known)
    volumes = [case for case in known if is_physical(case)]
    if options.size is not None:
        return None, _asked_size(options, ndim)
    if options.spacing is not None:
        if not volumes:
            raise PaucisError("data.spacing needs scans that carry a spacing, and none does; use data.size=Y,X")
        if len(options.spacing) != ndim:
            raise PaucisError(f"data.spacing must have {ndim} entries (mm): the plan is {ndim}D")
        return options.spacing, None
    if pictures:
        _, height, width = median_shape([case.shape for case in known])
        return None, plan_size(height, width)
    if not volumes:
        return (1.0,) * ndim, None
    traces = [trace_case(case, slice_axis, None, None) for case in volumes]
    spacings = [[trace.geometry.spacing[axis] for axis in trace.axes] for trace in traces]
    middle = np.median(np.array(spacings), axis=0)
    return tuple(float(f"{mm:.6g}") for mm in middle)[-ndim:], None


def _asked_size(options: DataOptions, ndim: int) -> tuple[int, ...]:
    size = options.size or ()
    if ndim == 3:
        raise PaucisError("data.size is for 2D plans: add data.dims=2, or use data.spacing=Z,Y,X")
    if options.spacing is not None:
        raise PaucisError("data.size and data.spacing exclude each other: drop one of them")
    if len(size) not in (1, 2):
        raise PaucisError(f"data.size={','.join(map(str, size))} must be Y,X")
    return size * 2 if len(size) == 1 else size


def choose_patch(
    shape: tuple[int, ...], spacing: tuple[float, ...], options: DataOptions, budget: int, *, whole: bool
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Patch and strides; a 2D patch of a stack takes a quarter of the budget, pictures of one size are seen whole."""
    if options.patch is not None:
        return asked_patch(options.patch, spacing)
    return plan_patch(shape, spacing, budget if len(shape) == 3 or whole else budget // 4)


def directions(known: Sequence[CaseFacts], slice_axis: int | None) -> list[int | None]:
    """What each axis of a patch runs along: 0 superior, 1 posterior, 2 left, None where nobody knows."""
    if all(case.geometry.dims == 2 for case in known):
        return [0, 2]
    axes: list[int | None] = [0, 1, 2] if all(is_physical(case) for case in known) else [None] * 3
    return [axis for index, axis in enumerate(axes) if index != slice_axis]


def trace_case(
    case: CaseFacts, slice_axis: int | None, spacing: tuple[float, ...] | None, size: tuple[int, ...] | None
) -> Trace:
    """Where a case's voxels go on a grid that is still being chosen."""
    return trace_of(case.geometry, case.shape, slice_axis=slice_axis, spacing=spacing, size=size)


def median_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Axis by axis."""
    return tuple(round(float(middle)) for middle in np.median(np.array(shapes), axis=0))
