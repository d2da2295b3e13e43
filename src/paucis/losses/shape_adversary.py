"""The two sides of a shape prior: to pass as a reference mask, and to tell reference masks from what was found."""

from __future__ import annotations

from collections.abc import Callable

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


def slope_penalty(judge: Callable[[Tensor], Tensor], references: Tensor) -> Tensor:
    """``mean 1/2 |d D(m) / d m|^2``: small where the discriminator is flat around the reference masks (R1).

    A discriminator that is free to be as steep as it likes soon tells everything apart, and what is found no longer
    learns from it which way to go. With this the two players settle.

    Args:
        judge: maps (N, 1, *spatial) to logits (N,); called once, in float32, with gradients of gradients.
        references: (N, 1, *spatial).

    Returns:
        a scalar in float32, with gradients to the parameters of ``judge``.

    Reference:
        L. Mescheder, A. Geiger, S. Nowozin: Which training methods for GANs do actually converge? ICML 2018, Eq. 9.
    """
    with no_autocast(references):
        shown = full(references).detach().requires_grad_()
        (slope,) = torch.autograd.grad(full(judge(shown)).sum(), shown, create_graph=True)
        return slope.square().flatten(1).sum(1).mean() / 2


def _binary(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(full(logits), torch.full_like(full(logits), target))
