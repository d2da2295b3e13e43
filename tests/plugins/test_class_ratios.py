from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.networks import Field
from paucis.plugins import class_ratios, vector_grid
from paucis.plugins.vector_grid import grid_counts


def drawn(*shape: int, classes: int, ignored: float = 0.1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < ignored] = IGNORE
    return labels


def naive(labels: Tensor, centers: Tensor, sizes: tuple[int, ...], classes: int) -> Tensor:
    """Voxel by voxel: the window of ``size`` voxels, whose even form reaches one further towards zero."""
    result = torch.zeros(len(labels), len(centers), classes)
    for b, image in enumerate(labels):
        for n, center in enumerate(centers.tolist()):
            rows = []
            for c, size in zip(center, sizes, strict=True):
                whole = c == int(c)
                low = c - (size // 2 if whole else (size - 1) / 2 if size % 2 == 0 else size / 2)
                rows.append([int(low) + step for step in range(size)])
            for place in product(*rows):
                inside = all(0 <= p < side for p, side in zip(place, image.shape, strict=True))
                if inside and image[place] != IGNORE:
                    result[b, n, image[place]] += 1
            result[b, n] /= max(result[b, n].sum(), 1)
    return result


CASES: list[Any] = [
    ((2, 9, 11), (3, 3), 2),
    ((1, 9, 11), (4, 6), 4),
    ((2, 6, 7, 5), (3, 3, 3), 3),
    ((1, 6, 7, 5), (2, 5, 4), 2),
    ((2, 6, 6), (25, 3), 3),
]


@pytest.mark.parametrize(("shape", "sizes", "classes"), CASES)
def test_ratios_are_those_of_a_loop_over_voxels_at_borders_and_beyond_them_too(
    shape: tuple[int, ...], sizes: tuple[int, ...], classes: int
) -> None:
    labels = drawn(*shape, classes=classes)
    every = [torch.arange(-1, side + 1, 2) for side in shape[1:]]
    centers = torch.stack(torch.meshgrid(*every, indexing="ij"), -1).view(-1, len(every)).double()
    assert torch.allclose(class_ratios(labels, centers, sizes, classes), naive(labels, centers, sizes, classes))


def test_windows_of_even_size_lie_around_centers_between_voxels() -> None:
    labels = drawn(2, 8, 9, classes=3)
    centers = torch.tensor([[0.5, 0.5], [3.5, 4.5], [7.5, 8.5]])
    assert torch.allclose(class_ratios(labels, centers, 4, 3), naive(labels, centers, (4, 4), 3))


def test_an_even_window_reaches_one_further_towards_zero() -> None:
    labels = torch.tensor([[0, 1, 0, 0, 0]])
    assert class_ratios(labels, torch.tensor([[3.0]]), 4, 2)[0, 0, 1] == 0.25
    assert class_ratios(labels, torch.tensor([[2.0]]), 2, 2)[0, 0, 1] == 0.5
    assert class_ratios(labels, torch.tensor([[0.0]]), 2, 2)[0, 0, 1] == 0


def test_shares_sum_to_one_at_the_border_and_to_zero_where_nothing_is_known() -> None:
    labels = drawn(1, 8, 8, classes=2, ignored=0.0)
    labels[:, :4, :4] = IGNORE
    ratios = class_ratios(labels, torch.tensor([[0.0, 0.0], [7.0, 7.0], [3.0, 5.0]]), 3, 2)
    assert ratios.sum(2).tolist() == [[0.0, 1.0, 1.0]]


def test_another_label_can_be_the_ignored_one() -> None:
    labels = torch.tensor([[[0, 1], [2, 2]]])
    ratios = class_ratios(labels, torch.zeros(1, 2), 3, 3, ignore_index=2)
    assert ratios.flatten().tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("sides", "count", "numbers"),
    [
        ((32, 32), 64, (8, 8)),
        ((48, 64), 32, (5, 6)),
        ((16, 16, 16), 27, (3, 3, 3)),
        ((2, 64), 8, (1, 8)),
        ((4, 4), 64, (4, 4)),
        ((1, 1), 5, (1, 1)),
    ],
)
def test_a_grid_has_as_many_vectors_as_asked_at_most_evenly_along_all_axes(
    sides: tuple[int, ...], count: int, numbers: tuple[int, ...]
) -> None:
    assert grid_counts(sides, count) == numbers


@pytest.mark.parametrize("count", [1, 7, 8, 30, 64, 1000])
def test_the_grid_covers_the_map_and_its_centers_belong_to_its_vectors(count: int) -> None:
    sides, field = (12, 20), Field((7, 9), (2, 4), (0.5, -1.0))
    grid = vector_grid(sides, count, field)
    rows, columns = grid.places // 20, grid.places % 20
    assert len(grid.places) == len(set(grid.places.tolist())) <= min(count, 240)
    assert torch.equal(grid.centers, torch.stack([rows * 2 + 0.5, columns * 4 - 1.0], 1).double())
    for places, side in ((rows, 12), (columns, 20)):
        used = sorted(set(places.tolist()))
        assert abs(used[0] - (side - 1 - used[-1])) <= 1  # centered, not along one border
        gaps = {b - a for a, b in pairwise(used)}
        assert max(gaps, default=0) - min(gaps, default=0) <= 1
