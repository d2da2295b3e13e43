"""InfoNCE: a vector finds its positive among negatives: of two views, with a memory, with a vector for each image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.directions import unit
from paucis.losses.precision import full, no_autocast


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1, others: Tensor | None = None) -> Tensor:
    """Mean over 2N rows of ``-log exp(z_i . z_pos / T) / sum_k exp(z_i . z_k / T)``, k over all vectors but the row.

    Both sides take a gradient.

    Args:
        first: (N, D) vectors of one view, of any length.
        second: (N, D) of the other.
        temperature: T > 0.
        others: (K, D) further negatives, such as those of other processes; they take none.

    Returns:
        a scalar in float32.

    Reference:
        T. Chen et al.: A simple framework for contrastive learning of visual representations. ICML 2020.
    """
    with no_autocast(first):
        z = unit(full(torch.cat([first, second])))
        keys = z if others is None else torch.cat([z, unit(full(others)).to(z).detach()])
        rows, count = torch.arange(len(z), device=z.device), len(first)
        logits = z @ keys.T / temperature
        own = torch.zeros_like(logits, dtype=torch.bool)
        own[rows, rows] = True
        return F.cross_entropy(logits.masked_fill(own, -torch.inf), (rows + count) % len(z))


def info_nce(
    queries: Tensor, keys: Tensor, bank: Tensor, known: Tensor | None = None, temperature: float = 0.2
) -> Tensor:
    """Mean over rows of ``-log exp(q_i . k_i / T) / (exp(q_i . k_i / T) + sum_b exp(q_i . b / T))``.

    Args:
        queries: (N, D) of any length.
        keys: (N, D), the positive of each; no gradient passes to them.
        bank: (K, D) negatives of all rows; no gradient passes to them.
        known: (K,) bool, the negatives that there are; None for all.
        temperature: T > 0.

    Returns:
        a scalar in float32; 0, still with a gradient, where there is no negative.

    Reference:
        K. He et al.: Momentum contrast for unsupervised visual representation learning. CVPR 2020.
    """
    with no_autocast(queries):
        q, k, b = (unit(full(side)) for side in (queries, keys.detach(), bank.detach()))
        negative = q @ b.to(q).T / temperature
        if known is not None:
            negative = negative.masked_fill(~known, -torch.inf)
        logits = torch.cat([(q * k.to(q)).sum(1, keepdim=True) / temperature, negative], 1)
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def instance_discrimination(vectors: Tensor, bank: Tensor, numbers: Tensor, temperature: float = 0.07) -> Tensor:
    """Mean over rows of ``-log exp(v_i . b_n(i) / T) / sum_k exp(v_i . b_k / T)``: each image is a class of its own.

    Args:
        vectors: (N, D) of any length.
        bank: (K, D), the vector that is kept of each image; no gradient passes to them.
        numbers: (N,) int64, the image that each row is of, in [0, K).
        temperature: T > 0.

    Returns:
        a scalar in float32.

    Reference:
        Z. Wu et al.: Unsupervised feature learning via non-parametric instance discrimination. CVPR 2018, Eq. 2.
    """
    with no_autocast(vectors):
        v, b = unit(full(vectors)), unit(full(bank.detach()))
        return F.cross_entropy(v @ b.to(v).T / temperature, numbers)
