"""A contrastive loss on pairs: each vector finds its partner among all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.precision import full, no_autocast


def paired_contrast(anchors: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """Mean over i of ``-log exp(a_i . c_i / T) / sum_k exp(a_i . c_k / T)``, all vectors at length 1.

    Neither side is detached here. The positive pair is part of the sum, so the loss is never negative.

    Args:
        anchors: (..., N, D); leading dimensions are separate sets.
        candidates: (..., N, D); the partner of anchor i is candidate i, every other one of its set is a negative.
        temperature: T > 0.

    Returns:
        a scalar in float32; 0, still with a gradient, where N is 1.

    Reference:
        A. van den Oord, Y. Li, O. Vinyals: Representation learning with contrastive predictive coding.
        arXiv:1807.03748, 2018.
    """
    with no_autocast(anchors):
        a = F.normalize(full(anchors), dim=-1, eps=1e-6)
        c = F.normalize(full(candidates), dim=-1, eps=1e-6)
        logits = a @ c.transpose(-1, -2) / temperature
        return -torch.diagonal(logits.log_softmax(-1), dim1=-2, dim2=-1).mean()
