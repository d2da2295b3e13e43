"""How far apart two grids lie, in mm: compared where they end, as points, not header field by header field."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry


def corners(geometry: Geometry, shape: Sequence[int]) -> NDArray[Any]:
    """Centers of the eight corner voxels, (8, 3) as x, y, z in mm.

    Args:
        geometry: of the grid.
        shape: voxels along (Z, Y, X).
    """
    ends = [(0, size - 1) for size in reversed(shape)]
    steps = np.array(list(product(*ends)), dtype=np.float64) * np.array(geometry.spacing[::-1])
    points: NDArray[Any] = steps @ np.reshape(geometry.direction, (3, 3)).T + np.array(geometry.origin)
    return points


def corner_distance(first: Geometry, second: Geometry, shape: Sequence[int]) -> float:
    """The largest distance in mm between corresponding corners of two grids of the same shape (Z, Y, X)."""
    return float(np.linalg.norm(corners(first, shape) - corners(second, shape), axis=1).max())
