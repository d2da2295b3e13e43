"""Vectors around voxels and their cosines, window by window, against sums written out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paucis.batch import Task
from paucis.inference.similar_places import Pooling, SimilarPlaces
from paucis.methods.base import Method


class Directions(Method):
    """The vector of a pixel: its intensity, its square and 1; every window adds what only it knows."""

    def __init__(self, task: Task, own: float = 0.0) -> None:
        super().__init__(lambda *_: None, task, None)
        self.own = own
        self.windows = 0

    def embed(self, images: Tensor) -> Tensor:
        self.windows += len(images)
        mean = images.flatten(1).mean(1).view(-1, *[1] * (images.ndim - 1)).expand_as(images)
        return torch.cat([images, images**2, torch.ones_like(images), self.own * mean], 1)


def places(patch: tuple[int, ...], window: tuple[int, int, int], sigma: float | None, **more: Any) -> SimilarPlaces:
    method = Directions(Task(len(patch), 1, 2, patch), more.pop("own", 0.0))
    return SimilarPlaces(method, method.task, Pooling(window, sigma), **more)


def image(*size: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)


def written_out(
    values: np.ndarray[Any, Any], voxel: tuple[int, ...], window: tuple[int, ...], sigma: float | None
) -> np.ndarray[Any, Any]:
    """The vector around a voxel: a sum over all voxels of the image."""
    total = np.zeros(4)
    for other in product(*map(range, values.shape[1:])):
        weight = 1.0
        for at, to, size in zip(voxel, other, window, strict=True):
            reach = abs(to - at) / (size / 2) if size > 1 else (0.0 if to == at else 2.0)
            inside = 1.0 if abs(to - at) <= (size - 1) / 2 else 0.5 if abs(to - at) == size / 2 else 0.0
            weight *= inside * (np.exp(-(reach**2) / (2 * sigma**2)) if sigma else 1.0)
        x = float(values[(0, *other)])
        total += weight * np.array([x, x**2, 1.0, 0.0])
    return total / np.linalg.norm(total)


@pytest.mark.parametrize("sigma", [None, 0.5])
@pytest.mark.parametrize(
    ("patch", "size", "window"),
    [((8, 10), (2, 8, 10), (1, 3, 4)), ((8, 8), (1, 5, 6), (1, 4, 5)), ((4, 6, 6), (3, 6, 5), (2, 3, 4))],
)
def test_a_scan_of_one_window_gives_the_vectors_and_cosines_written_out(
    patch: tuple[int, ...], size: tuple[int, int, int], window: tuple[int, int, int], sigma: float | None
) -> None:
    values, here = image(*size), places(patch, window, sigma)
    chosen = [(0, 0, 0), tuple(length - 1 for length in size), (size[0] // 2, 2, 3)]
    expected = np.stack([written_out(values, voxel, window, sigma) for voxel in chosen])
    found = here.vectors(values, chosen)
    assert np.allclose(found, expected, atol=1e-5)
    maps = here.maps(values, found[:2] * 7)
    assert maps.shape == (2, *size)
    for voxel in [*chosen, (0, 1, 4)]:
        assert np.allclose(
            maps[(slice(None), *voxel)], expected[:2] @ written_out(values, voxel, window, sigma), atol=1e-5
        )


@pytest.mark.parametrize(("patch", "size"), [((8, 8), (2, 19, 13)), ((4, 6, 8), (9, 13, 11))])
def test_a_scan_of_many_windows_is_like_its_own_vector_by_one_at_its_voxel(
    patch: tuple[int, ...], size: tuple[int, int, int]
) -> None:
    values, here = image(*size), places(patch, (1 if len(patch) == 2 else 2, 3, 3), 0.5, own=5.0, batch=3)
    rng = np.random.default_rng(1)
    chosen = [tuple(int(rng.integers(length)) for length in size) for _ in range(6)]
    maps = here.maps(values, here.vectors(values, chosen))
    for map_, voxel in zip(maps, chosen, strict=True):
        assert map_[voxel] == pytest.approx(1.0, abs=1e-5)
        assert np.unravel_index(int(map_.argmax()), size) == voxel


def test_every_voxel_has_one_window_and_it_is_the_one_in_whose_middle_it_lies_most() -> None:
    here = places((6, 8), (1, 1, 1), None)
    values = image(2, 15, 21)
    owners = np.full((2, 15, 21), -1)
    parts = here._parts(values)
    centers = np.array([[part.corner[1] + 3, part.corner[2] + 4] for part in parts])
    for number, part in enumerate(parts):
        own = tuple(slice(first, last) for first, last in zip(part.begin, part.stop, strict=True))
        assert (owners[own] == -1).all()
        owners[own] = number
    assert (owners >= 0).all()
    for y, x in product(range(15), range(21)):
        for axis, at in enumerate((y, x)):
            away = np.abs(centers[:, axis] - (at + 0.5))
            assert away[owners[0, y, x]] == away.min()


def test_windows_without_a_wanted_voxel_are_not_computed_and_maps_go_where_they_are_told() -> None:
    here = places((8, 8), (1, 3, 3), None)
    vectors = here.vectors(image(5, 8, 8), [(1, 2, 2), (3, 0, 0)])
    assert isinstance(here.method, Directions)
    assert here.method.windows == 2
    room = np.zeros((2, 5, 8, 8), np.float32)
    assert here.maps(image(5, 8, 8), vectors, lambda shape: room if shape == room.shape else room[:0]) is room
    assert room.any()
