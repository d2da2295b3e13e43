"""How much of each class lies in windows of a label map: the patches that feature vectors see."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from paucis.batch import IGNORE


def class_ratios(
    labels: Tensor, centers: Tensor, size: int | Sequence[int], num_classes: int, ignore_index: int = IGNORE
) -> Tensor:
    """The share of each class in windows of a label map (Eq. 4), ``phi_m = |R and class m| / |R|``.

    |R| counts what of a window lies within the image and is not ignored, so that the shares sum to 1 at borders too.

    Args:
        labels: (B, *spatial) class indices.
        centers: (N, ndim) centres of the windows in voxels, the same for all images; voxel 0 has its centre at 0, and a
            window of an even size whose centre is a whole number reaches one further towards zero.
        size: voxels along each axis, or along all axes.
        num_classes: M, background included.
        ignore_index: label of voxels that do not count.

    Returns:
        (B, N, M) float32; all zero where a window holds no voxel that counts.

    Reference:
        the paper of patch-dragsaw contrastive regularization and uncertainty-aware feature selection, Section 3.3.

    Deviations:
        the paper divides by the whole window; at borders its shares are then too small, and border windows alike.
    """
    return window_shares(summed_classes(labels, num_classes, ignore_index), centers, size)


def summed_classes(labels: Tensor, num_classes: int, ignore_index: int = IGNORE) -> Tensor:
    """Integral images of one-hot labels: how many voxels of each class lie before each position along all axes.

    Args:
        labels: (B, *spatial) class indices.
        num_classes: M.
        ignore_index: label of voxels that do not count.

    Returns:
        (B, M, *[side + 1 for each axis]) int32.
    """
    classes = torch.arange(num_classes, device=labels.device).view(1, -1, *[1] * (labels.dim() - 1))
    members = (labels[:, None] == classes) & (labels[:, None] != ignore_index)
    table = labels.new_zeros((len(labels), num_classes, *(side + 1 for side in labels.shape[1:])), dtype=torch.int32)
    inner = (slice(None), slice(None), *[slice(1, None)] * (labels.dim() - 1))
    table[inner] = members
    for axis in range(2, table.dim()):
        table = table.cumsum(axis, dtype=torch.int32)
    return table


def window_shares(summed: Tensor, centers: Tensor, size: int | Sequence[int]) -> Tensor:
    """The share of each class in windows, from integral images.

    Args:
        summed: of ``summed_classes``.
        centers: (N, ndim), as in ``class_ratios``.
        size: as in ``class_ratios``.

    Returns:
        (B, N, M).
    """
    sides, ndim = summed.shape[2:], summed.dim() - 2
    sizes = torch.tensor([size] * ndim if isinstance(size, int) else list(size), device=summed.device)
    limits = torch.tensor(sides, device=summed.device) - 1
    first = torch.floor(centers.to(summed.device).double() - (sizes - 1) / 2).long()
    edges = torch.stack([first, first + sizes]).clamp(min=0).minimum(limits)
    flat, count = summed.flatten(2), torch.zeros((), dtype=torch.int32, device=summed.device)
    for corner in product((0, 1), repeat=ndim):
        place = edges.new_zeros(len(centers))
        for axis, end in enumerate(corner):
            place = place * sides[axis] + edges[end, :, axis]
        sign = -1 if (ndim - sum(corner)) % 2 else 1
        count = count + sign * flat[:, :, place]
    counts = count.transpose(1, 2).float()
    return counts / counts.sum(2, keepdim=True).clamp(min=1)
