"""The entropy of a prediction as a loss."""

from __future__ import annotations

import math

from torch import Tensor

from paucis.losses.consistency import masked_mean
from paucis.losses.precision import full, no_autocast


def entropy_loss(logits: Tensor, valid: Tensor | None = None, *, normalized: bool = True) -> Tensor:
    """Mean over voxels of ``-sum p log p``.

    Args:
        logits: (B, K, *spatial), before the softmax over dimension 1.
        valid: (B, *spatial) bool or weights; None counts all voxels.
        normalized: divides by ln K, so that 1 is the largest value; False leaves nats.

    Returns:
        a scalar in float32; 0, still with a gradient, where no voxel is valid.

    Reference:
        Y. Grandvalet, Y. Bengio: Semi-supervised learning by entropy minimization. NeurIPS 2004.
    """
    with no_autocast(logits):
        log_p = full(logits).log_softmax(1)
        loss = masked_mean(-(log_p.exp() * log_p).sum(1), valid)
        return loss / math.log(max(logits.shape[1], 2)) if normalized else loss
