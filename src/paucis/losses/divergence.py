"""How far two distributions over classes are apart: Kullback-Leibler and Jensen-Shannon, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paucis.losses.consistency import masked_mean
from paucis.losses.precision import full, no_autocast


def kl_divergence(target: Tensor, logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over voxels of ``KL(p || q) = sum p (log p - log q)``. Neither side is detached here.

    Args:
        target: (B, K, *spatial), p before the softmax over dimension 1.
        logits: (B, K, *spatial), q before the softmax.
        valid: (B, *spatial) bool or weights; None counts all voxels.
    """
    with no_autocast(logits):
        log_p, log_q = full(target).log_softmax(1), full(logits).log_softmax(1)
        return masked_mean((log_p.exp() * (log_p - log_q)).sum(1), valid)


def jensen_shannon(one: Tensor, other: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over voxels of ``H((p + q) / 2) - (H(p) + H(q)) / 2``: between 0 and ln 2, symmetric.

    Args:
        one: (B, K, *spatial), p before the softmax over dimension 1.
        other: (B, K, *spatial), q before the softmax.
        valid: (B, *spatial) bool or weights; None counts all voxels.

    Reference:
        S. Qiao et al.: Deep co-training for semi-supervised image recognition. ECCV 2018.
    """
    with no_autocast(one):
        log_p, log_q = full(one).log_softmax(1), full(other).log_softmax(1)
        log_mean = torch.logaddexp(log_p, log_q) - math.log(2.0)
        terms = log_p.exp() * (log_p - log_mean) + log_q.exp() * (log_q - log_mean)
        return masked_mean(0.5 * terms.sum(1), valid)
