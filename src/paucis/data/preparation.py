"""A scan on the planned grid: turned, scaled, resampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch.nn import functional

from paucis.batch import IGNORE
from paucis.data.case import Volume
from paucis.data.grid import Trace, orient, unorient
from paucis.data.plan import Plan
from paucis.errors import PaucisError

__all__ = ["Trace", "orient", "prepare", "prepare_label", "resample", "unorient"]


def prepare(volume: Volume, plan: Plan) -> tuple[NDArray[np.float32], Trace]:
    """An image as a network sees it.

    Args:
        volume: (C, Z, Y, X) as stored.
        plan: the plan.

    Returns:
        (C, Z, Y, X) float32 on the planned grid, and how it came there.

    Raises:
        PaucisError: another number of channels than planned, a picture in place of a volume, or values that are not
            finite.
    """
    array = volume.array
    if array.shape[0] != len(plan.channels):
        raise PaucisError(
            f"the image has {array.shape[0]} channels and the plan {len(plan.channels)} ({', '.join(plan.channels)})"
        )
    if plan.ndim == 3 and volume.geometry.dims == 2:
        raise PaucisError("is a picture of one slice, and the plan is of volumes: give volumes, or train in 2D")
    trace = plan.trace(volume.geometry, array.shape[1:])
    turned = np.ascontiguousarray(orient(array, trace), dtype=np.float32)
    if turned is array or np.shares_memory(turned, array):
        turned = turned.copy()
    if not np.isfinite(turned).all():
        count = int(turned.size - np.isfinite(turned).sum())
        raise PaucisError(f"the image holds {count} NaN or infinite voxels: repair it or leave it out")
    for scaling, channel in zip(plan.normalization, turned, strict=True):
        scaling.apply(channel)
    prepared = resample(turned, trace.prepared)
    for scaling, channel in zip(plan.normalization, prepared, strict=True):
        scaling.level(channel, plan.lengths)
    return prepared, trace


def prepare_label(volume: Volume, plan: Plan, trace: Trace | None = None) -> NDArray[np.uint8]:
    """A mask as class indices on the planned grid.

    Every class is resampled linearly, as a map of its own, and the largest wins; among equals the later class, so
    that thin structures survive. Nothing is smoothed before. A voxel stays ``IGNORE`` where the nearest stored one is:
    neither does a guess take its place, nor does it take the place of a labeled one.

    Args:
        volume: (1, Z, Y, X) raw mask values.
        plan: the plan.
        trace: of the image; None takes the mask's own geometry.

    Returns:
        (Z, Y, X); ``IGNORE`` where the mask holds a value of ``plan.ignore``.

    Raises:
        PaucisError: a value that is no class, or another shape than the image's.
    """
    raw = volume.array[0]
    trace = trace or plan.trace(volume.geometry, raw.shape)
    if raw.shape != trace.shape:
        raise PaucisError(f"the mask has {_by(raw.shape)} voxels (Z x Y x X) and its image {_by(trace.shape)}")
    classes = orient(_class_indices(raw, plan), trace)
    if trace.prepared == trace.oriented:
        return np.ascontiguousarray(classes)
    winner = np.zeros(trace.prepared, np.uint8)
    best = np.full(trace.prepared, -1.0, np.float32)
    for index in np.setdiff1d(classes, IGNORE):
        score = _linear((classes == index).astype(np.float32)[None], trace.prepared)[0]
        wins = score >= best
        winner[wins], best[wins] = index, score[wins]
    if plan.ignore:
        winner[_nearest(classes == IGNORE, trace.prepared)] = IGNORE
    return winner


def resample(array: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Linear interpolation of (C, Z, Y, X) to another (Z, Y, X), corners aligned with corners.

    Axes that shrink are smoothed first (Gaussian of (factor - 1) / 2 voxels), so that nothing aliases; axes that keep
    their size keep their values.
    """
    for axis, (old, new) in enumerate(zip(array.shape[1:], shape, strict=True), start=1):
        if new < old:
            array = gaussian_filter1d(array, (old / new - 1) / 2, axis=axis, mode="nearest", output=np.float32)
    return _linear(array, shape)


def _linear(array: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    if array.shape[1:] == tuple(shape):
        return array
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None]
    if tensor.shape[2] == shape[0]:  # slice by slice: no work along an axis that stays
        slices = tensor[0].transpose(0, 1)
        slices = functional.interpolate(slices, size=tuple(shape[1:]), mode="bilinear", align_corners=False)
        done = slices.transpose(0, 1).contiguous()
    else:
        done = functional.interpolate(tensor, size=tuple(shape), mode="trilinear", align_corners=False)[0]
    result: NDArray[np.float32] = done.numpy()
    return result


def _nearest(mask: NDArray[np.bool_], shape: Sequence[int]) -> NDArray[np.bool_]:
    """The nearest voxel of (Z, Y, X) on another grid; true where one of several nearest is."""
    for axis, (old, new) in enumerate(zip(mask.shape, shape, strict=True)):
        if new != old:
            center = (np.arange(new) + 0.5) * (old / new) - 0.5
            low, high = np.ceil(center - 0.5).astype(np.intp), np.floor(center + 0.5).astype(np.intp)
            mask = mask.take(low, axis, mode="clip") | mask.take(high, axis, mode="clip")
    return mask


def _class_indices(raw: NDArray[np.generic], plan: Plan) -> NDArray[np.uint8]:
    known, indices = (*plan.values, *plan.ignore), (*range(len(plan.values)), *(IGNORE for _ in plan.ignore))
    order = np.argsort(known)
    values = np.asarray(known)[order]
    place = np.searchsorted(values, raw).clip(max=len(values) - 1)
    wrong = values[place] != raw
    if wrong.any():
        found = sorted({_number(value) for value in np.unique(raw[wrong])})[:5]
        named = ", ".join(f"{value} {name}" for value, name in zip(plan.values, plan.classes, strict=True))
        raise PaucisError(f"the mask holds {', '.join(map(str, found))}, which is no class (classes: {named})")
    classes: NDArray[np.uint8] = np.asarray(indices, np.uint8)[order][place]
    return classes


def _number(value: np.generic) -> float | int:
    number = float(value)  # type: ignore[arg-type]
    return int(number) if number.is_integer() else number


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
