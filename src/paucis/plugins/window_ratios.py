"""How much of each class lies in windows of a label map: the patches that feature vectors see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.losses.precision import no_autocast

_NO_LABEL = -(2**15)
_AT_ONCE = 128  # windows; those of a grid share their sides, scattered ones need a table of all combinations


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
    return window_shares(class_members(labels, num_classes, ignore_index), centers, size)


def class_members(labels: Tensor, num_classes: int, ignore_index: int = IGNORE) -> Tensor:
    """(B, M, *spatial) float32: 1 where a voxel is of the class and counts."""
    short = labels.to(torch.int16)  # four times fewer bytes to compare
    members = torch.empty((len(labels), num_classes, *labels.shape[1:]), device=labels.device)
    for label in range(num_classes):
        torch.eq(short, label if label != ignore_index else _NO_LABEL, out=members[:, label])
    return members


def window_shares(members: Tensor, centers: Tensor, size: int | Sequence[int]) -> Tensor:
    """The share of each class in windows: one product of matrices per axis counts the voxels of all windows.

    Args:
        members: of ``class_members``.
        centers: (N, ndim), as in ``class_ratios``.
        size: as in ``class_ratios``.

    Returns:
        (B, N, M).
    """
    ndim = members.dim() - 2
    sizes = [size] * ndim if isinstance(size, int) else list(size)
    parts = [_counts(members, part, sizes) for part in torch.split(centers, _AT_ONCE)]
    counts = torch.cat(parts, 2).transpose(1, 2)
    return counts / counts.sum(2, keepdim=True).clamp(min=1)


def _counts(members: Tensor, centers: Tensor, sizes: Sequence[int]) -> Tensor:
    """(B, M, N) voxels of each class in each window, from the table of all combinations of its sides."""
    sides, counts = members.shape[2:], members.flatten(2)
    place = torch.zeros(len(centers), dtype=torch.long, device=members.device)
    combinations = 1
    with no_autocast(members):  # half precision cannot count
        for axis in reversed(range(len(sides))):
            first = torch.floor(centers[:, axis].double() - (sizes[axis] - 1) / 2).long()
            starts, which = torch.unique(first.to(members.device), return_inverse=True)
            row = torch.arange(sides[axis], device=members.device)
            inside = ((row >= starts[:, None]) & (row < starts[:, None] + sizes[axis])).float()
            if combinations == 1:
                counts = counts.reshape(*members.shape[:2], -1, sides[axis]) @ inside.T
            else:
                counts = inside @ counts.reshape(*members.shape[:2], -1, sides[axis], combinations)
            place = place + which * combinations
            combinations *= len(starts)
    return counts.flatten(2)[:, :, place]
