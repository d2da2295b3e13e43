"""From a map of similarity to a point and its confidence, on maps made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paucis.evaluation.landmarks import accuracy, find_peak, share_of_window


def hills(*tops: tuple[tuple[int, int], float], shape: tuple[int, int] = (20, 30), width: float = 2.0) -> np.ndarray:
    """A map whose hills have these heights."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    parts = [top * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * width**2)) for at, top in tops]
    return np.max(parts, 0).astype(np.float32)[None]


def test_the_point_is_the_centroid_of_what_touches_the_top_and_has_95_percent_of_it() -> None:
    map_ = np.zeros((1, 9, 9), np.float32)
    map_[0, 4, 4] = 1.0
    map_[0, 3, 5] = 0.96  # touches by a corner
    map_[0, 2, 6] = 0.951
    map_[0, 4, 3] = 0.94
    map_[0, 8, 0] = 0.99  # apart
    peak = find_peak(map_, (1, 3, 3))
    assert peak.voxel == (0, 4, 4)
    assert peak.center == pytest.approx((0, 3, 5))
    assert peak.similarity == 1.0
    assert peak.confidence == pytest.approx(1 / 0.99)


def test_the_component_lies_in_space() -> None:
    map_ = np.zeros((5, 5, 5), np.float32)
    map_[1, 1, 1], map_[2, 2, 2], map_[3, 2, 2] = 0.98, 1.0, 0.97
    assert find_peak(map_, (3, 3, 3)).center == pytest.approx((2, 5 / 3, 5 / 3))


def test_confidence_compares_the_top_with_the_next_separate_one() -> None:
    one = find_peak(hills(((8, 8), 0.9)), (1, 6, 6))
    two = find_peak(hills(((8, 8), 0.9), ((8, 20), 0.6)), (1, 6, 6))
    near = find_peak(hills(((8, 8), 0.9), ((8, 10), 0.85)), (1, 6, 6))
    assert two.voxel == near.voxel == (0, 8, 8)
    assert two.confidence == pytest.approx(1.5, rel=1e-4)
    assert near.confidence > 10, "a shoulder within half a window is no peak of its own"
    assert one.confidence > 10, "nor is the slope beyond half a window"


def test_a_map_without_anything_alike_has_its_largest_voxel_and_no_confidence() -> None:
    peak = find_peak(np.array([[[-0.5, -0.2, -0.9]]], np.float32), (1, 1, 1))
    assert peak.voxel == (0, 0, 1)
    assert peak.center == (0, 0, 1)
    assert peak.confidence == 0
    alone = find_peak(np.array([[[-0.5, 0.2, -0.9]]], np.float32), (1, 1, 1))
    assert math.isinf(alone.confidence)
    flat = find_peak(np.full((1, 8, 8), 0.5, np.float32), (1, 2, 2))
    assert flat.confidence == 1.0
    assert flat.center == pytest.approx((0, 3.5, 3.5))


def test_distance_is_a_share_of_the_pooling_size_and_accuracy_counts_what_is_nearer() -> None:
    assert share_of_window((0, 3, 4), (0, 0, 0), (1, 50, 50)) == pytest.approx(0.1)
    assert share_of_window((1, 3, 0), (0, 0, 0), (4, 12, 12)) == pytest.approx(math.hypot(0.25, 0.25))
    assert accuracy([0.04, 0.05, 0.12, 0.3]) == [0.25, 0.5, 0.75, 0.75, 0.75]
    assert all(math.isnan(share) for share in accuracy([]))
