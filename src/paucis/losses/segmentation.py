"""Cross-entropy and Dice against labels, with ignored voxels and confidence weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.losses.precision import full, no_autocast


def cross_entropy(
    logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORE, weights: Tensor | None = None
) -> Tensor:
    """Mean over the counted voxels of ``-w log p[label]``.

    The sum is divided by the number of counted voxels, not by the sum of the weights, so that labels of low
    confidence teach less.

    Args:
        logits: (B, K, *spatial).
        labels: (B, *spatial) class indices; ``ignore_index`` is not counted.
        ignore_index: label of voxels left out.
        weights: (B, *spatial) confidence of each label in [0, 1], or None for 1 everywhere.

    Returns:
        a scalar in float32; 0, still with a gradient, where nothing is counted.
    """
    with no_autocast(logits):
        losses = F.cross_entropy(full(logits), labels.long(), ignore_index=ignore_index, reduction="none")
        if weights is not None:
            losses = losses * weights.to(losses)
        return losses.sum() / labels.ne(ignore_index).sum().clamp(min=1)


def dice_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE,
    weights: Tensor | None = None,
    include_background: bool = True,
    squared: bool = True,
    batch: bool = True,
    softmax: bool = True,
    named_only: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """One minus the soft Dice coefficient, mean over classes.

    For each class ``1 - (2 sum(w p y) + smooth) / (sum(w p^2) + sum(w y^2) + smooth)``, over the counted voxels. A
    class that no label names costs nearly 1 wherever p > 0, as in the semi-supervised literature: it is pushed to 0.

    Args:
        logits: (B, K, *spatial); probabilities where ``softmax`` is False.
        labels: (B, *spatial) class indices; ``ignore_index`` is not counted.
        ignore_index: label of voxels left out.
        weights: (B, *spatial) confidence of each label in [0, 1], or None for 1 everywhere.
        include_background: whether class 0 enters the mean.
        squared: p^2 and y^2 in the denominator, as Milletari et al. (V-Net, 3DV 2016) and most of the
            semi-supervised literature have it; False: p and y.
        batch: sums run over the whole batch; False: over each image, then the mean over images too.
        softmax: turns the logits into probabilities first.
        named_only: only classes that a counted label names enter the mean.
        smooth: keeps an empty class finite.

    Returns:
        a scalar in float32; 0, still with a gradient, where nothing is counted.
    """
    with no_autocast(logits):
        probabilities = full(logits).softmax(1) if softmax else full(logits)
        first = 0 if include_background or logits.shape[1] == 1 else 1
        probabilities = probabilities[:, first:].flatten(2)
        counted = labels.ne(ignore_index).flatten(1).to(probabilities)
        if weights is not None:
            counted = counted * weights.flatten(1).to(counted)
        classes = torch.arange(first, logits.shape[1], device=labels.device)
        targets = labels.flatten(1).unsqueeze(1).eq(classes.unsqueeze(1)).to(probabilities)
        targets = targets * counted.unsqueeze(1)
        dims = (0, 2) if batch else (2,)
        overlap = (probabilities * targets).sum(dims)
        powers = probabilities.square() if squared else probabilities
        size = (powers * counted.unsqueeze(1)).sum(dims) + targets.sum(dims)  # y^2 = y
        losses = 1 - (2 * overlap + smooth) / (size + smooth)
        if not named_only:
            return losses.mean()
        named = targets.sum(dims) > 0
        return losses.where(named, 0.0).sum() / named.sum().clamp(min=1)


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE,
    weights: Tensor | None = None,
    ce: float = 0.5,
    dice: float = 0.5,
    include_background: bool = True,
    squared: bool = True,
) -> Tensor:
    """``ce * cross_entropy + dice * dice_loss``; a part of weight 0 is not computed.

    Args:
        logits: (B, K, *spatial).
        labels: (B, *spatial) class indices; ``ignore_index`` is not counted.
        ignore_index: label of voxels left out.
        weights: (B, *spatial) confidence of each label in [0, 1], or None.
        ce: weight of the cross-entropy.
        dice: weight of the Dice loss.
        include_background: as in ``dice_loss``.
        squared: as in ``dice_loss``.
    """
    loss = torch.zeros((), device=logits.device)
    if ce:
        loss = loss + ce * cross_entropy(logits, labels, ignore_index=ignore_index, weights=weights)
    if dice:
        loss = loss + dice * dice_loss(
            logits,
            labels,
            ignore_index=ignore_index,
            weights=weights,
            include_background=include_background,
            squared=squared,
        )
    return loss
