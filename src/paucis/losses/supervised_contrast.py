"""Contrast by class: vectors of one class are drawn together and away from all others."""

from __future__ import annotations

import torch
from torch import Tensor

from paucis.losses.precision import full, no_autocast


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """``mean_i -1/|P(i)| sum_{p in P(i)} log exp(f_i . f_p / t) / sum_{o != i} exp(f_i . f_o / t)``.

    P(i) are the other vectors of the class of i; the mean is over the anchors that have one. One (N, N) matrix is
    held: 16 MiB for 2048 vectors.

    Args:
        features: (N, D) vectors of length 1.
        labels: (N,) class of each.
        temperature: t > 0.

    Returns:
        a scalar in float32; 0, still with a gradient, where no vector has another of its class.

    Reference:
        P. Khosla et al.: Supervised contrastive learning. NeurIPS 2020; H. Wu, X. Li, K.-T. Cheng: Exploring feature
        representation learning for semi-supervised medical image segmentation. arXiv 2021, Eq. 10.

    Deviations:
        Eq. 10 sums over anchors and divides by ``P(i)``: here the mean over anchors, as in the published code, and the
        number of positives.
    """
    with no_autocast(features):
        vectors = full(features)
        _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        positives = counts[classes] - 1
        anchors = positives.gt(0).nonzero().squeeze(1)
        if len(anchors) == 0:
            return vectors.sum() * 0.0
        mine = vectors[anchors]
        logits = (mine / temperature) @ vectors.T
        others = torch.logsumexp(logits.scatter_(1, anchors.unsqueeze(1), -torch.inf), 1)
        sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, classes, vectors)
        near = (mine * (sums[classes[anchors]] - mine)).sum(1) / (positives[anchors].to(mine) * temperature)
        loss: Tensor = (others - near).mean()
        return loss
