"""Pixels of a feature map as anchors and class means, chosen by labels. Nothing here waits for a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE


def coarse_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels (B, *spatial) at the resolution of a feature map, from the first voxel of each cell: (B, *size).

    That voxel is what the middle of a padded, strided 3-wide convolution looks at.
    """
    return F.interpolate(labels.unsqueeze(1).float(), tuple(size), mode="nearest").squeeze(1).to(labels.dtype)


def draw_anchors(
    labels: Tensor, classes: int, each: int, *, borrow: bool = True, last: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Random pixels, ``each`` of every class in every image, each pixel once.

    Args:
        labels: (B, P) class of each pixel; ``IGNORE`` is never drawn.
        classes: K.
        each: pixels of a class in an image.
        borrow: where a class has too few, draws as many more of the others.
        last: (B, P) bool, pixels of a class that are drawn only when its others are used up.

    Returns:
        indices (B, M) and their labels (B, M) with M = min(K * each, P); ``IGNORE`` where nothing was left to draw.
    """
    known, pixels = labels.lt(classes), labels.shape[1]
    kind = torch.where(known, labels, classes)
    chance = torch.rand(labels.shape, device=labels.device) * 0.999  # below 1 after rounding too
    key = chance if last is None else 0.5 * (chance + last.to(chance))
    order = (kind + key).argsort(1)  # class by class, at random within
    sizes = torch.zeros(len(labels), classes + 1, dtype=torch.long, device=labels.device)
    sizes.scatter_add_(1, kind, torch.ones_like(kind))
    begins = sizes.cumsum(1) - sizes
    rank = torch.arange(pixels, device=labels.device) - begins.gather(1, kind.gather(1, order))
    place = torch.empty_like(rank).scatter_(1, order, rank)  # of a pixel among those of its class
    # first the share of every class, then what may be borrowed, then what may not be drawn
    turn = torch.where(known & (place < each), 0, torch.where(known, 1, 2)) + chance
    index = turn.argsort(1)[:, : classes * each]
    counted = turn.gather(1, index) < (2 if borrow else 1)
    return index, torch.where(counted, labels.gather(1, index), IGNORE)


def class_means(embeddings: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The mean embedding of each class in each image, at length 1.

    Args:
        embeddings: (B, P, D).
        labels: (B, P) class of each pixel; ``IGNORE`` does not count.
        classes: K.

    Returns:
        vectors (B * K, D) and their labels (B * K,), ``IGNORE`` for a class that an image lacks.
    """
    numbers = torch.arange(classes, device=labels.device)
    member = labels.unsqueeze(1).eq(numbers.unsqueeze(1))  # (B, K, P)
    means = F.normalize(member.to(embeddings) @ embeddings, dim=-1)
    present = torch.where(member.any(-1), numbers, IGNORE)
    return means.flatten(0, 1), present.flatten()
