"""Hypersphere mixup: a mixture of two images lies on the way between them on the sphere of their vectors."""

from __future__ import annotations

from torch import Tensor

from paucis.losses.directions import unit
from paucis.losses.joint_discrimination import paired_discrimination
from paucis.losses.precision import full, no_autocast


def hypersphere_target(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """``unit(share * s_1 + (1 - share) * s_2)``, detached (Eq. 14).

    Args:
        first: (..., D) vectors s_1 of length 1.
        second: (..., D) vectors s_2.
        share: of the first, in [0, 1]; broadcast against the leading dimensions, with a last one of size 1.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440. Eq. 14 prints
        ``1 - share * s_2``.
    """
    with no_autocast(first):
        one, two = full(first).detach(), full(second).detach()
        return unit(share.to(one) * one + (1 - share.to(one)) * two)


def hypersphere_mixup(
    mixed: Tensor,
    target: Tensor,
    temperature: float = 0.1,
    *,
    counted: Tensor | None = None,
    others: Tensor | None = None,
) -> Tensor:
    """Vectors of mixed patches find their targets among all (Eq. 15-18).

    Rows are the mixed vectors and the targets, as in the published code; the rows of the targets, which are
    constants, move nothing, so that the loss pulls half as much as its value says.

    Args:
        mixed: (N, D) vectors of mixed patches.
        target: (N, D) from ``hypersphere_target``; no gradient passes.
        temperature: T > 0.
        counted: (N,) bool; what is False is neither row nor key.
        others: (K, D) further negatives, such as those of other processes.

    Returns:
        a scalar in float32.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.
    """
    return paired_discrimination(mixed, target.detach(), temperature, counted=counted, others=others)
