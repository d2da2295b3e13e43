"""The generalized energy distance between two sets of soft segmentations of the same image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from paucis.losses.precision import full, no_autocast

_BLOCK = 8192
"""Voxels in one product: sums of float32 stay exact to six digits, and a GPU has enough blocks to work on."""


def generalized_energy_distance(student: Tensor, teacher: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """``2 E d(s, t) - E d(s, s') - E d(t, t')`` with the Dice distance ``d``, expectations over all pairs.

    ``d(a, b) = 1 - mean over classes of (2 sum ab + smooth) / (sum a^2 + sum b^2 + smooth)``, sums over voxels. Pairs
    of equal index count too, so that the distance of a set to itself is 0. All pairs come out of matrix products, not
    of a pass over the voxels for each pair. Neither side is detached here.

    Args:
        student: (S, B, K, *spatial) probabilities of S samples.
        teacher: (T, B, K, *spatial) probabilities of T samples.
        smooth: keeps a class that is nowhere finite: its distance is 0.

    Returns:
        (B,) in float32.

    Reference:
        G. Székely, M. Rizzo: Energy statistics. Journal of Statistical Planning and Inference 2013; H. Wu, X. Li,
        K.-T. Cheng: Exploring feature representation learning for semi-supervised medical image segmentation.
        arXiv 2021, Eq. 6-8.

    Deviations:
        Eq. 7 as printed has sums where Eq. 6 has means. Eq. 8 as printed lacks the factor 2, which would leave equal
        masks at a distance of 1/2, and has one ratio for all classes, which the background would rule. Here both are
        as in the published code.
    """
    with no_autocast(student):
        batch, classes = student.shape[1:3]
        own, between, other = _Products.apply(_rows(student), _rows(teacher))  # type: ignore[no-untyped-call]
        own, between, other = (gram.view(batch, classes, *gram.shape[1:]) for gram in (own, between, other))
        s, t = torch.diagonal(own, dim1=-2, dim2=-1), torch.diagonal(other, dim1=-2, dim2=-1)
        apart = 2 * _distance(between, s, t, smooth)
        distance: Tensor = apart - _distance(own, s, s, smooth) - _distance(other, t, t, smooth)
        return distance


def _rows(samples: Tensor) -> Tensor:
    """(S, B, K, *spatial) as (S, B * K, voxels)."""
    return full(samples).flatten(3).flatten(1, 2)


def _distance(products: Tensor, a: Tensor, b: Tensor, smooth: float) -> Tensor:
    """Mean over pairs of the Dice distance, from products (B, K, S, T) and squared sizes (B, K, S), (B, K, T)."""
    share = (2 * products + smooth) / (a.unsqueeze(-1) + b.unsqueeze(-2) + smooth)
    return 1 - share.mean((1, 2, 3))


class _Products(torch.autograd.Function):
    """Sums over voxels of the products of all pairs within and between two sets; keeps nothing but the sets."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(student, teacher)
        return _gram(student, student), _gram(student, teacher), _gram(teacher, teacher)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, own: Tensor, between: Tensor, other: Tensor) -> tuple[Tensor | None, Tensor | None]:
        student, teacher = ctx.saved_tensors
        to_student = to_teacher = None
        with no_autocast(student):
            if ctx.needs_input_grad[0]:
                to_student = _combined(own + own.mT, student, between, teacher)
            if ctx.needs_input_grad[1]:
                to_teacher = _combined(other + other.mT, teacher, between.mT, student)
        return to_student, to_teacher


def _gram(a: Tensor, b: Tensor) -> Tensor:
    """(S, N, V) and (T, N, V) to (N, S, T), block by block of voxels."""
    blocks = a.shape[2] // _BLOCK
    whole, grams = blocks * _BLOCK, []
    for row in range(a.shape[1]):
        left, right = a[:, row], b[:, row]
        gram = left[:, whole:] @ right[:, whole:].mT
        if blocks:
            parts = [side[:, :whole].view(-1, blocks, _BLOCK).transpose(0, 1) for side in (left, right)]
            gram = gram + torch.bmm(parts[0], parts[1].mT).sum(0)
        grams.append(gram)
    return torch.stack(grams)


def _combined(p: Tensor, a: Tensor, q: Tensor, b: Tensor) -> Tensor:
    """``p a + q b`` for each class of each image: (N, S, S), (S, N, V), (N, S, T), (T, N, V) to (S, N, V)."""
    result = torch.empty_like(a)
    for row in range(a.shape[1]):
        result[:, row] = torch.addmm(p[row] @ a[:, row], q[row], b[:, row])
    return result
