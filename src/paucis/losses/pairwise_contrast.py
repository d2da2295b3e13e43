"""Contrast of every pair of one class with the mean of all pairs across classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.precision import full, no_autocast


def pairwise_contrastive(features: Tensor, labels: Tensor, temperature: float = 100.0) -> Tensor:
    """``mean_i -1/|P(i)| sum_p log e(i, p) / (e(i, p) + 1/|N(i)| sum_n e(i, n))``.

    ``e(i, j) = exp(f_i . f_j / t)``; P(i) are the other vectors of the class of i, N(i) those of other classes; the
    mean is over the anchors that have both. ``prototype_contrastive`` is its limit for normally distributed classes.
    Memory and time grow with N^2: for small crops, or a few thousand vectors.

    Args:
        features: (N, D) vectors of length 1.
        labels: (N,) class of each.
        temperature: t > 0.

    Returns:
        a scalar in float32; 0, still with a gradient, where no vector has both.

    Reference:
        H. Wu, X. Li, K.-T. Cheng: Exploring feature representation learning for semi-supervised medical image
        segmentation. arXiv 2021, Eq. 11.

    Deviations:
        Eq. 11 as printed has two minus signs, which would drive a class apart.
    """
    with no_autocast(features):
        vectors = full(features)
        same = labels.unsqueeze(0).eq(labels.unsqueeze(1))
        negatives = (~same).sum(1)
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        anchors = (positive.any(1) & negatives.gt(0)).nonzero().squeeze(1)
        if len(anchors) == 0:
            return vectors.sum() * 0.0
        logits = (vectors[anchors] / temperature) @ vectors.T
        far = torch.logsumexp(logits.masked_fill(same[anchors], -torch.inf), 1) - negatives[anchors].to(logits).log()
        losses = F.softplus(far.unsqueeze(1) - logits)  # -log e^a / (e^a + e^b) = log(1 + e^(b - a))
        weights = positive[anchors].to(losses)
        return ((losses * weights).sum(1) / weights.sum(1)).mean()
