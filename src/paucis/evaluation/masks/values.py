"""From the raw values of masks to class indices, on the side of the predictions and on that of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.errors import PaucisError

Values = tuple[int, ...]

UNKNOWN = 255
"""Marks voxels about which nothing is known: in raw labels where no class has this value, and as a class index."""

_MANY = 64  # beside classes numbered below it, 255 marks unknown voxels; beside gray levels it is one of them


def values_in(array: NDArray[Any]) -> set[int]:
    """The values that occur."""
    if array.size and array.min() >= 0 and array.max() < 1 << 16:
        return set(np.flatnonzero(np.bincount(array.ravel())).tolist())
    return {int(value) for value in np.unique(array)}


def class_values(found: Mapping[Path, set[int]], known: Values, *, labels: bool) -> Values:
    """The raw value of each class of a set of masks.

    A set of masks of 0 and 255, or of 0 and 1, has one class, whatever value ``known`` has for it.

    Args:
        found: the values that occur in each file.
        known: raw values that the other side uses; empty where nobody says.
        labels: True for labels, in which 255 may mark unknown voxels.

    Raises:
        PaucisError: a file holds a value that no class has, or there are more values than classes can be.
    """
    every = set().union(*found.values())
    single = len(known) in (0, 2)
    if UNKNOWN in every and every <= {0, UNKNOWN} and (single or (labels and UNKNOWN not in known)):
        return (0, UNKNOWN)  # labels of nothing but background and unknown voxels would make no sense
    if 1 in every and every <= {0, 1} and single:
        return (0, 1)
    if not known:
        return _shown(every, next(iter(found), Path()))
    for path, values in found.items():
        extra = sorted(values - set(known) - ({UNKNOWN} if labels else set()))
        if extra:
            raise PaucisError(_alien(path, extra[0], known))
    return known


def _shown(every: set[int], path: Path) -> Values:
    """The classes that a set of masks shows: its values, 255 left out where it marks unknown voxels."""
    named = every - {0, UNKNOWN}
    if named and max(named) < _MANY:
        every = named
    values = tuple(sorted(every | {0}))
    if len(values) > UNKNOWN:
        raise PaucisError(f"{path} and its like hold {len(values)} values: they are pictures, not masks")
    return values if len(values) > 1 else (0, 1)


def to_classes(
    array: NDArray[Any], values: Values, path: Path, unknown: frozenset[int] = frozenset()
) -> NDArray[np.uint8]:
    """Raw mask values as class indices.

    Args:
        array: raw values, any shape.
        values: raw value of each class, at most 255 of them.
        path: of the mask, for the message.
        unknown: raw values of voxels that do not count; they become ``UNKNOWN``.

    Raises:
        PaucisError: a value that no class has.
    """
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low >= 0 and high < len(values) and values == tuple(range(len(values))):
        return array.astype(np.uint8)
    occurring = sorted(values_in(array))
    strange = [value for value in occurring if value not in values and value not in unknown]
    if strange:
        raise PaucisError(_alien(path, strange[0], values))
    table = np.full(high - low + 1, UNKNOWN, dtype=np.uint8)
    for value in occurring:
        if value in values:
            table[value - low] = values.index(value)
    indices: NDArray[np.uint8] = table[array.astype(np.int64) - low]
    return indices


def _alien(path: Path, value: int, known: Values) -> str:
    shown = ", ".join(map(str, known))
    return f"{path} holds the value {value}, which is no class (classes: {shown}): correct the mask or the class list"
