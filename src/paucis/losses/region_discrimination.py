"""Regions that a clustering finds: their vectors, the prototypes of their kind, and the loss that tells them apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.consistency import masked_mean
from paucis.losses.directions import unit
from paucis.losses.joint_discrimination import chunked_terms
from paucis.losses.precision import full, no_autocast

_SURE = 1e-6


def region_prototypes(embeddings: Tensor, assignments: Tensor) -> tuple[Tensor, Tensor]:
    """The vector of each region of each image, and the prototype of each cluster (Eq. 9-10).

    ``t_nc = unit(mean over voxels of r_nc v_n)`` and ``T_c = unit(mean over images of t_nc)``.

    Args:
        embeddings: (B, D, *spatial) vectors v of length 1.
        assignments: (B, C, *spatial) shares r of each voxel in C clusters; 0 leaves a voxel out.

    Returns:
        regions (B, C, D) and prototypes (C, D) of length 1, in float32; a region that is empty, and the prototype of a
        cluster that is empty everywhere, are zero and pass no gradient.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.
    """
    with no_autocast(embeddings):
        v, r = full(embeddings).flatten(2), full(assignments).flatten(2)
        regions = unit(r @ v.mT / v.shape[2])
        return regions, unit(regions.mean(0))


def region_discrimination(regions: Tensor, prototypes: Tensor, temperature: float = 0.2, joint: bool = True) -> Tensor:
    """Each region finds its own cluster's prototype among all: mean over images and regions (Eq. 11-12).

    ``-log q_c - sum_{c' != c} log(1 - q_c')``, ``q`` the softmax over prototypes of ``cos / T``. Neither side is
    detached here.

    Args:
        regions: (B, C, D), of any length.
        prototypes: (C, D), of any length.
        temperature: T > 0.
        joint: False keeps the first term alone, the cross-entropy, as the published code does.

    Returns:
        a scalar in float32.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.

    Deviations:
        the mean instead of the sum.
    """
    with no_autocast(regions):
        queries, keys = unit(full(regions)).flatten(0, 1), unit(full(prototypes))
        own = torch.arange(regions.shape[1], device=regions.device).repeat(len(regions))
        if joint:
            return chunked_terms(queries, keys.to(queries), own, temperature).mean()
        return F.cross_entropy(queries @ keys.to(queries).T / temperature, own)


def cluster_entropy(assignments: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over voxels and clusters of ``-r log2 r - (1 - r) log2(1 - r)``: low where voxels are surely in or out.

    Args:
        assignments: (B, C, *spatial) shares r in [0, 1].
        valid: (B, *spatial) bool; None counts all voxels.

    Returns:
        a scalar in float32, in [0, 1].

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440, Eq. 29.

    Deviations:
        logarithms to base 2, as in the published code.
    """
    with no_autocast(assignments):
        r = full(assignments).clamp(_SURE, 1 - _SURE)  # the gradient at 0 and 1 would be infinite
        return masked_mean(-(r * r.log2() + (1 - r) * (1 - r).log2()), valid)
