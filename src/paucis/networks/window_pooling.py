"""Averages of maps over windows, all voxels alike or the center first: cells of a grid, or around every voxel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paucis.losses.precision import no_autocast


def window_weights(length: int, centers: Tensor, width: float, sigma: float | None = None) -> Tensor:
    """Weights of the voxels of an axis in windows of one width, each row adding up to 1.

    A voxel counts by the part of it that lies in the window, times the Gaussian of Eq. 24,
    ``exp(-((x - c) / (width / 2))^2 / (2 sigma^2))`` at its center x. A window around a voxel is therefore symmetric
    about that voxel whether its width is odd or even: of an even one, the two voxels at its ends count half.

    Args:
        length: voxels of the axis; voxel j reaches from j to j + 1.
        centers: (N,) of the windows, within the axis; j + 0.5 is the center of voxel j.
        width: of the windows, in voxels; what reaches beyond the axis is cut off.
        sigma: of the Gaussian, in halves of the width; None lets all voxels count alike.

    Returns:
        (N, length) float32.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440. Eq. 24 puts the middle
        of a window of k voxels at index k / 2, half a voxel from where it is.
    """
    low = torch.arange(length, dtype=torch.float64, device=centers.device)
    middle, half = centers.double().unsqueeze(1), width / 2
    weights = (torch.minimum(low + 1, middle + half) - torch.maximum(low, middle - half)).clamp(0, 1)
    if sigma is not None:
        weights = weights * torch.exp(-(((low + 0.5 - middle) / (half * sigma)) ** 2) / 2)
    return (weights / weights.sum(1, keepdim=True)).float()


def weighted_means(maps: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Means of maps over boxes whose weights are a product over the axes, in float32.

    Args:
        maps: (B, D, *size).
        weights: (N_a, size_a) for each spatial axis.

    Returns:
        (B, D, *N).
    """
    with no_autocast(maps):
        found = maps.float()
        for axis, rows in enumerate(weights, start=2):
            found = (found.movedim(axis, -1) @ rows.to(found).T).movedim(-1, axis)
        return found


def cell_means(maps: Tensor, grid: Sequence[int], sigma: float | None = None) -> Tensor:
    """Means over the cells of a grid (Eq. 3, with ``sigma`` Eq. 25 before its vectors are brought to length 1).

    Cells are equal parts of the map: where their number does not divide its size, a voxel between two cells counts
    for both by its parts. Turning the map by right angles turns the result, for any grid.

    Args:
        maps: (B, D, *size).
        grid: cells along each axis.
        sigma: as in ``window_weights``.

    Returns:
        (B, D, *grid) float32.
    """
    weights = []
    for length, cells in zip(maps.shape[2:], grid, strict=True):
        width = length / cells
        centers = (torch.arange(cells, device=maps.device, dtype=torch.float64) + 0.5) * width
        weights.append(window_weights(length, centers, width, sigma))
    return weighted_means(maps, weights)
