"""From a map of similarity to a point, how sure it is, and how often points lie where they should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

THRESHOLDS = (0.05, 0.10, 0.15, 0.20, 0.25)
"""Shares of the pooling size within which a point counts as found."""

ALIKE = 0.95
"""Share of the largest similarity that belongs to the peak."""


class Peak(NamedTuple):
    """Where a landmark was found, in voxels (Z, Y, X) of the map.

    Attributes:
        voxel: of the largest similarity, the first of several.
        center: centroid of the voxels around it that are like the point by more than 95 % of that.
        similarity: the largest cosine.
        confidence: the largest cosine over that of the next separate peak; infinite where there is none above 0,
            0 where the largest is not above 0.
    """

    voxel: tuple[int, int, int]
    center: tuple[float, float, float]
    similarity: float
    confidence: float


def find_peak(similar: NDArray[np.float32], window: Sequence[int]) -> Peak:
    """The point of a landmark (Eq. 35).

    Voxels that touch by a corner belong together. The next separate peak is the largest voxel that no other voxel
    within half a window surpasses, farther than half a window from the first along some axis.

    Args:
        similar: (Z, Y, X) cosines.
        window: voxels along (Z, Y, X) within which there is one peak.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440. The confidence is ours.
    """
    place = np.unravel_index(int(similar.argmax()), similar.shape)
    voxel = (int(place[0]), int(place[1]), int(place[2]))
    highest = float(similar[voxel])
    center: tuple[float, ...] = voxel
    if highest > 0:
        parts, _ = ndimage.label(similar > ALIKE * highest, np.ones((3, 3, 3)))
        around = ndimage.find_objects(parts)[parts[voxel] - 1]
        inside = np.argwhere(parts[around] == parts[voxel]).mean(0)
        center = tuple(float(one + part.start) for one, part in zip(inside, around, strict=True))
    return Peak(voxel, (center[0], center[1], center[2]), highest, _confidence(similar, voxel, window))


def _confidence(similar: NDArray[np.float32], voxel: tuple[int, int, int], window: Sequence[int]) -> float:
    if similar[voxel] <= 0:
        return 0.0
    reach = [max(size, 1) // 2 for size in window]
    peaks = similar == ndimage.maximum_filter(similar, size=[2 * far + 1 for far in reach], mode="nearest")
    peaks[tuple(slice(max(at - far, 0), at + far + 1) for at, far in zip(voxel, reach, strict=True))] = False
    following = float(similar[peaks].max()) if peaks.any() else 0.0
    return float(similar[voxel]) / following if following > 0 else float("inf")


def share_of_window(found: Sequence[float], true: Sequence[float], window: Sequence[int]) -> float:
    """Distance of two points as a share of the pooling size (Eq. 36), measured along each axis by its own."""
    return float(np.sqrt(sum(((a - b) / size) ** 2 for a, b, size in zip(found, true, window, strict=True))))


def accuracy(shares: Sequence[float], thresholds: Sequence[float] = THRESHOLDS) -> list[float]:
    """Share of points that are nearer than each threshold; not a number where there is no point."""
    if not len(shares):
        return [float("nan")] * len(thresholds)
    return [float(np.mean(np.asarray(shares) < threshold)) for threshold in thresholds]
