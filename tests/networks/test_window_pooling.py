"""Averages over windows against sums written out voxel by voxel."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from paucis.networks.window_pooling import cell_means, weighted_means, window_weights


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def kernel(width: int, sigma: float) -> list[float]:
    """Eq. 24 along an axis, its center in the middle of the voxels."""
    return [math.exp(-((((k - (width - 1) / 2) / (width / 2)) ** 2) / (2 * sigma**2))) for k in range(width)]


@pytest.mark.parametrize("sigma", [None, 0.5, 0.3])
@pytest.mark.parametrize(("size", "grid"), [((12, 8), (3, 2)), ((10, 15), (2, 3)), ((6, 4, 8), (2, 2, 4))])
def test_cells_are_the_weighted_means_of_their_voxels(
    size: tuple[int, ...], grid: tuple[int, ...], sigma: float | None
) -> None:
    values = maps(2, 3, *size)
    found = cell_means(values, grid, sigma)
    assert found.shape == (2, 3, *grid)
    widths = [length // cells for length, cells in zip(size, grid, strict=True)]
    for cell in product(*map(range, grid)):
        total, mass = torch.zeros(2, 3), 0.0
        for offset in product(*map(range, widths)):
            weight = math.prod(kernel(w, sigma)[k] for w, k in zip(widths, offset, strict=True)) if sigma else 1.0
            place = tuple(c * w + k for c, w, k in zip(cell, widths, offset, strict=True))
            total, mass = total + weight * values[(..., *place)], mass + weight
        assert torch.allclose(found[(..., *cell)], total / mass, atol=1e-5)


@pytest.mark.parametrize("sigma", [None, 0.5])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 9])
def test_a_window_is_centered_on_its_voxel_whether_odd_or_even(width: int, sigma: float | None) -> None:
    (row,) = window_weights(21, torch.tensor([10.5]), width, sigma)  # around voxel 10
    assert torch.equal(row, row.flip(0))
    assert float(row @ torch.arange(21.0)) == pytest.approx(10.0, abs=1e-5)
    assert float(row.sum()) == pytest.approx(1.0, abs=1e-6)
    shown = row / row[10]
    for offset in range(-10, 11):
        inside = 1.0 if abs(offset) <= (width - 1) / 2 else 0.5 if abs(offset) == width / 2 else 0.0
        gaussian = math.exp(-((offset / (width / 2)) ** 2) / (2 * sigma**2)) if sigma else 1.0
        assert float(shown[10 + offset]) == pytest.approx(inside * gaussian, abs=1e-6)


def test_a_window_at_the_border_is_cut_off_there() -> None:
    (row,) = window_weights(10, torch.tensor([0.5]), 5)
    assert torch.allclose(row, torch.tensor([1 / 3] * 3 + [0.0] * 7))


@pytest.mark.parametrize("sigma", [None, 0.5])
@pytest.mark.parametrize("cells", [3, 4, 5, 7])
def test_turned_maps_have_the_turned_cells_also_where_they_do_not_divide(cells: int, sigma: float | None) -> None:
    values = maps(1, 2, 16, 16)
    straight = cell_means(values, (cells, cells), sigma)
    for k in range(4):
        turned = cell_means(torch.rot90(values, k, (2, 3)), (cells, cells), sigma)
        assert torch.allclose(torch.rot90(turned, -k, (2, 3)), straight, atol=1e-6)


def test_means_stay_in_single_precision_under_mixed_precision_and_pass_a_gradient() -> None:
    values = maps(1, 2, 8, 8).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cell_means(values, (2, 2), 0.5)
    assert found.dtype == torch.float32
    assert torch.equal(found, cell_means(values, (2, 2), 0.5))
    found.sum().backward()
    assert values.grad is not None
    assert (values.grad > 0).all()
    assert torch.allclose(weighted_means(values, [torch.eye(8), torch.eye(8)]), values)
