"""A contrastive loss on pixels: each anchor towards the samples of its class, away from those of the others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paucis.batch import IGNORE
from paucis.losses.precision import full, no_autocast

_AT_ONCE = 2**22
"""Similarities held at once: 16 MiB each of a handful of tensors."""


def pixel_contrastive(
    anchors: Tensor, anchor_labels: Tensor, bank: Tensor, bank_labels: Tensor, temperature: float = 0.07
) -> Tensor:
    """InfoNCE with many positives, mean over the anchors that have one.

    For anchor i with positives P (the samples of its class) and negatives N (those of all other classes)::

        l_i = -1/|P| * sum_{p in P} log( e^{s_ip} / (e^{s_ip} + sum_{n in N} e^{s_in}) ),   s = cos / temperature

    Anchors are not compared with each other: what should be compared belongs in the bank. Neither side is detached
    here. Memory does not grow with M x Q: beyond a few million similarities they are computed in chunks of anchors,
    once more in the backward pass.

    Args:
        anchors: (M, D), of any length; they are normalized here.
        anchor_labels: (M,) class of each anchor; an anchor labeled ``IGNORE`` does not count.
        bank: (Q, D) samples, normalized here too.
        bank_labels: (Q,) class of each sample; one labeled ``IGNORE`` is neither positive nor negative.
        temperature: of the similarities, > 0.

    Returns:
        a scalar in float32; 0, still with a gradient, where no anchor has a positive or the bank is empty.

    Reference:
        T. Wang et al.: Uncertainty-guided pixel contrastive learning for semi-supervised medical image segmentation.
        IJCAI 2022, Eq. 8 and 9.
    """
    with no_autocast(anchors):
        a = F.normalize(full(anchors), dim=1, eps=1e-6)
        b = F.normalize(full(bank), dim=1, eps=1e-6).to(a)
        if len(a) == 0 or len(b) == 0:
            return a[:0].sum() + b[:0].sum()
        known, rows = bank_labels.ne(IGNORE), max(1, _AT_ONCE // len(b))
        if rows >= len(a):
            terms, counted = _terms(a, anchor_labels, b, bank_labels, known, temperature)
            return terms.sum() / counted.sum().clamp(min=1)
        sums = [
            torch.stack(
                [
                    part.sum()
                    for part in checkpoint(
                        _terms,
                        *(few, labels, b, bank_labels, known, temperature),
                        use_reentrant=False,
                        preserve_rng_state=False,
                    )
                ]
            )
            for few, labels in zip(torch.split(a, rows), torch.split(anchor_labels, rows), strict=True)
        ]
        total, count = torch.stack(sums).sum(0).unbind()
        mean: Tensor = total / count.clamp(min=1)
        return mean


def _terms(
    anchors: Tensor, labels: Tensor, bank: Tensor, bank_labels: Tensor, known: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Loss of each anchor, 0 for one without a positive, and which anchors have one (as 0 and 1)."""
    similar = anchors @ bank.T / temperature
    same = labels.unsqueeze(1) == bank_labels
    positive = same & known
    lowest = torch.finfo(similar.dtype).min / 4  # not infinite: an anchor without negatives keeps a finite gradient
    negatives = similar.masked_fill(same | ~known, lowest).logsumexp(1, keepdim=True)
    # -log(e^s / (e^s + e^n)) = log(1 + e^(n - s))
    terms = torch.where(positive, F.softplus(negatives - similar), 0.0)
    count = positive.sum(1)
    return terms.sum(1) / count.clamp(min=1), count.gt(0).to(similar)
