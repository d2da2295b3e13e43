"""The two sides of a shape prior: to pass as a reference mask, and to tell reference masks from what was found."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.precision import full, no_autocast


def passing_loss(found: Tensor) -> Tensor:
    """``mean -log D(r)``: small where what was found passes as a reference (Eq. 34).

    Args:
        found: (B,) logits of the discriminator.

    Returns:
        a scalar in float32.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.
    """
    with no_autocast(found):
        return _binary(found, 1.0)


def telling_loss(references: Tensor, found: Tensor) -> Tensor:
    """``mean -log D(reference) + mean -log(1 - D(r))``: small where the two are told apart (Eq. 31-32).

    Args:
        references: (N,) logits of the discriminator.
        found: (B,) likewise; the caller detaches the maps that they are of.

    Returns:
        a scalar in float32.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.
    """
    with no_autocast(found):
        return _binary(references, 1.0) + _binary(found, 0.0)


def _binary(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(full(logits), torch.full_like(full(logits), target))
