"""Voxels by the prototypes of their own image's regions."""

from __future__ import annotations

import torch
from torch import Tensor

from paucis.losses.directions import unit
from paucis.losses.precision import full, no_autocast

FEWEST = 1e-4
"""Share of an image's voxels below which a region has no prototype."""


def region_sums(vectors: Tensor, clusters: Tensor) -> Tensor:
    """What is added up over an image, or parts of it, to know its regions.

    Args:
        vectors: (B, D, *spatial) of every voxel.
        clusters: (B, C, *spatial) shares of every voxel in C clusters; 0 leaves a voxel out.

    Returns:
        (B, C, D + 1): ``sum over voxels of r_c v``, and ``sum of r_c``, in float32.
    """
    with no_autocast(vectors):
        v, r = full(vectors).flatten(2), full(clusters).flatten(2)
        return torch.cat([r @ v.mT, r.sum(2, keepdim=True)], 2)


def clustered(vectors: Tensor, sums: Tensor, temperature: float = 0.2) -> Tensor:
    """The share of every voxel in every region by its cosine with the regions' prototypes (Eq. 20).

    ``r*_c = softmax over c of (t_c . v / T)`` with ``t_c = unit(sum of r_c v)`` of this image (Eq. 9).

    Args:
        vectors: (B, D, *spatial) of length 1.
        sums: (B, C, D + 1) of ``region_sums`` over the whole image, of which the vectors may be a part.
        temperature: T > 0.

    Returns:
        (B, C, *spatial) in float32. A region of fewer than 0.01 % of the voxels has share 0 everywhere; where all
        have, all shares are 0.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.

    Deviations:
        tiny regions are left out: the direction of a mean over nothing is noise. The temperature is not in the paper;
        0.2 is that of the published code.
    """
    with no_autocast(vectors):
        v, sums = full(vectors), full(sums)
        prototypes, mass = unit(sums[..., :-1]), sums[..., -1]
        used = mass > FEWEST * mass.sum(1, keepdim=True).clamp(min=1e-12)
        similar = (prototypes @ v.flatten(2)) / temperature
        similar = similar.masked_fill(~used.unsqueeze(2), torch.finfo(similar.dtype).min)
        shares = torch.where(used.unsqueeze(2), similar.softmax(1), 0.0)
        return shares.reshape(*shares.shape[:2], *v.shape[2:])
