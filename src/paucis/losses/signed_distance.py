"""Signed distance maps of labels, and the loss of a predicted one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from paucis.batch import IGNORE
from paucis.losses.consistency import squared_difference

Absent = Literal["far", "zero"]

_AT_ONCE = 2**25
"""Numbers held at once while distances are computed axis by axis: 128 MiB."""


def signed_distance(labels: Tensor, classes: int, *, absent: Absent = "far", ignore_index: int = IGNORE) -> Tensor:
    """One signed distance map per foreground class: 0 on the inner boundary, to 1 outside and to -1 inside.

    With ``d`` the Euclidean distance in voxels to the nearest voxel of the other side, ``d / max d`` outside and
    ``-d / max d`` inside, the maxima being those of this crop; voxels of the class with a face on the outside are 0.

    Args:
        labels: (B, *spatial) class indices.
        classes: K, background included.
        absent: map of a class that fills none or all of the crop. ``far``: 1 or -1 everywhere; ``zero``: 0, which also
            means boundary, as published.
        ignore_index: voxels of no known side. They end neither side, and their value is 0.

    Returns:
        (B, K - 1, *spatial) float32 on the device of the labels, in [-1, 1].

    Reference:
        Y. Xue et al.: Shape-aware organ segmentation by predicting signed distance maps. AAAI 2020; as normalised by
        S. Li, C. Zhang, X. He: Shape-aware semi-supervised 3D semantic segmentation (SASSNet). MICCAI 2020.
    """
    numbers = torch.arange(1, classes, device=labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    inside = labels.unsqueeze(1) == numbers
    outside = ~inside & labels.ne(ignore_index).unsqueeze(1)
    axes = tuple(range(2, inside.ndim))
    depth = distance_to(outside).masked_fill(~inside, 0.0)
    height = distance_to(inside).masked_fill(~outside, 0.0)
    maps = height / height.amax(axes, keepdim=True) - depth / depth.amax(axes, keepdim=True)
    maps = maps.masked_fill(depth == 1, 0.0)  # a neighbour across a face lies outside
    flat = (outside.float() - inside.float()) * float(absent == "far")
    return torch.where(inside.any(axes, keepdim=True) & outside.any(axes, keepdim=True), maps, flat)


def distance_to(targets: Tensor) -> Tensor:
    """Exact Euclidean distance, in voxels, of every voxel to the nearest target of its own map.

    By SciPy on the CPU; elsewhere axis by axis as ``min_j f(j) + (i - j)^2``, without waiting for the device.

    Args:
        targets: (B, C, *spatial) bool.

    Returns:
        (B, C, *spatial) float32; infinite in a map without targets.
    """
    if targets.device.type == "cpu":
        return torch.from_numpy(_by_scipy(targets.numpy()))
    return _axis_by_axis(targets)


def distance_loss(maps: Tensor, labels: Tensor, *, absent: Absent = "far", ignore_index: int = IGNORE) -> Tensor:
    """Mean squared difference of predicted maps and the labels' signed distances, over the labeled voxels.

    Args:
        maps: (B, K - 1, *spatial) predicted, in [-1, 1].
        labels: (B, *spatial) class indices.
        absent: as in ``signed_distance``.
        ignore_index: label of voxels left out.
    """
    target = signed_distance(labels, maps.shape[1] + 1, absent=absent, ignore_index=ignore_index)
    return squared_difference(maps, target, labels.ne(ignore_index))


def _by_scipy(targets: NDArray[np.bool_]) -> NDArray[np.float32]:
    distances = np.full(targets.shape, np.inf, np.float32)
    for index in np.ndindex(*targets.shape[:2]):
        if targets[index].any():
            distances[index] = distance_transform_edt(~targets[index])
    return distances


def _axis_by_axis(targets: Tensor) -> Tensor:
    squared = torch.zeros(targets.shape, device=targets.device).masked_fill(~targets, torch.inf)
    for axis in range(2, targets.ndim):
        lines = squared.movedim(axis, -1)
        size = lines.shape[-1]
        places = torch.arange(size, device=targets.device, dtype=torch.float32)
        steps = (places - places.unsqueeze(1)).square()
        rows = max(1, _AT_ONCE // size**2)
        nearest = [(part.unsqueeze(-2) + steps).amin(-1) for part in torch.split(lines.reshape(-1, size), rows)]
        squared = torch.cat(nearest).reshape(lines.shape).movedim(-1, axis)
    return squared.sqrt()
