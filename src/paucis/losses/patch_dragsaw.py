"""The patch-dragsaw contrastive loss: vectors of one image drawn together or apart by what their patches hold."""

from __future__ import annotations

import torch
from torch import Tensor

from paucis.losses.directions import unit
from paucis.losses.precision import full, no_autocast


def patch_affinity(ratios: Tensor) -> Tensor:
    """How alike the patches of two vectors are made up: ``w_ij = 1 - mean_m |phi_i^m - phi_j^m|`` (Eq. 3).

    Args:
        ratios: (B, N, M), the share of each of M classes, background included, in the patch of each of N vectors.

    Returns:
        (B, N, N) in [0, 1], symmetric, 1 on the diagonal.

    Reference:
        the paper of patch-dragsaw contrastive regularization and uncertainty-aware feature selection, Section 3.3.
    """
    with no_autocast(ratios):
        shares = full(ratios)
        return 1 - torch.cdist(shares, shares, p=1) / ratios.shape[-1]


def patch_dragsaw(features: Tensor, affinity: Tensor, temperature: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Mean over items and pairs of ``-s_ij w_ij / T + log sum_k exp(s_ik (1 - w_ik) / T)`` (Eq. 6 and 7).

    ``s`` is the cosine similarity; k runs over all vectors, i and j among them. The pair of the numerator is weighted
    by its affinity, those of the denominator by their dissimilarity, so that like patches attract each other and
    unlike ones repel. The numerator is no term of the sum: the loss may be negative.

    Args:
        features: (B, N, D). A vector of length zero has no direction: its cosines are 0 and it gets no gradient.
        affinity: (B, N, N) in [0, 1]; a constant, no gradient flows into it.
        temperature: T > 0.
        valid: (B, N) bool, the vectors that count; None for all.

    Returns:
        a scalar in float32; 0, with a gradient of zero, where no vector counts.

    Reference:
        the paper of patch-dragsaw contrastive regularization and uncertainty-aware feature selection, Section 3.4.

    Deviations:
        the mean over pairs instead of their sum, so that its weight does not depend on N and the batch.
    """
    with no_autocast(features):
        vectors, weight = unit(full(features)), full(affinity.detach())
        similarity = vectors @ vectors.transpose(1, 2) / temperature
        repulsion = similarity * (1 - weight)
        if valid is None:
            return (repulsion.logsumexp(2, keepdim=True) - similarity * weight).mean()
        counted = valid[:, :, None] & valid[:, None, :]
        repulsion = repulsion.masked_fill(~valid[:, None, :], -torch.inf)
        repulsion = repulsion.masked_fill(~valid.any(1)[:, None, None], 0.0)  # a sum over nothing has no gradient
        terms = repulsion.logsumexp(2, keepdim=True) - similarity * weight
        return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp(min=1)
