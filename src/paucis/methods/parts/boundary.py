"""Voxels near the boundaries between classes, on both sides of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE


def near_boundary(labels: Tensor, radius: int = 1) -> Tensor:
    """Voxels with another class within ``radius`` voxels along every axis (corners included).

    For two classes that is ``dilate(A) \\ A`` together with ``A \\ erode(A)``. The border of the image and voxels
    labeled ``IGNORE`` bound nothing.

    Args:
        labels: (B, *spatial) class indices.
        radius: in voxels.

    Returns:
        (B, *spatial) bool.
    """
    known = labels.ne(IGNORE)
    values = labels.float()
    both = torch.stack([values, -values], 1).masked_fill(~known.unsqueeze(1), -torch.inf)
    pool = (F.max_pool2d, F.max_pool3d)[labels.ndim - 3]
    for axis in range(labels.ndim - 1):  # axis by axis: a cube's maximum at the cost of its edges
        kernel = [2 * radius + 1 if other == axis else 1 for other in range(labels.ndim - 1)]
        both = pool(both, kernel, 1, [size // 2 for size in kernel])
    largest, smallest = both[:, 0], -both[:, 1]
    return known & largest.ne(smallest)


def boundary_sets(labels: Tensor, number: int, radius: int = 1) -> Iterator[tuple[int, Tensor]]:
    """Random voxels near the boundaries of each image.

    Args:
        labels: (B, *spatial) class indices.
        number: largest number of voxels in an image.
        radius: in voxels.

    Yields:
        the image's index, and indices (N,) of its flattened voxels, each once; nothing for an image without boundary.
    """
    for index, near in enumerate(near_boundary(labels, radius)):
        places = near.flatten().nonzero().squeeze(1)
        if len(places):
            yield index, places[torch.randperm(len(places), device=places.device)[:number]]
