"""MultiCURE's contrast: voxels that a network is unsure of are drawn to the prototype of their class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.precision import full, no_autocast


def uncertain_prototype_contrastive(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    temperature: float = 0.1,
    *,
    others_only: bool = False,
) -> Tensor:
    """``-log exp(s_k / T) / sum_j exp(s_j / T)``, s_j the cosine of a voxel and prototype j, k the voxel's class.

    The sum runs over the valid prototypes. Mean over the voxels of each class, then over the classes that have any.
    Neither side is detached here.

    Args:
        features: (N, D) of uncertain voxels, of any length; normalized here.
        labels: (N,) class of each voxel; a voxel whose class has no valid prototype is left out.
        prototypes: (K, D), normalized here; a row that is not valid may hold anything.
        valid: (K,) bool.
        temperature: T > 0.
        others_only: the sum without j = k, as printed: unbounded below by 0, and of constant slope for two classes.

    Returns:
        a scalar in float32; 0, still with a gradient, where fewer than two prototypes are valid or no voxel is left.

    Reference:
        Eq. 5 of S. Karimijafarbigloo et al.: Reducing uncertainty in 3D medical image segmentation under limited
        annotations through contrastive learning. MIDL 2024.

    Deviations:
        The positive is part of the sum (see ``others_only``), and the mean is over the uncertain voxels of a class; the
        paper's index set is that of the certain ones.
    """
    classes = len(prototypes)
    with no_autocast(features):
        known = labels.ge(0) & labels.lt(classes)
        own = labels.long().clamp(0, classes - 1).masked_fill(~known, 0)
        counted = known & valid[own] & valid.sum().ge(2)
        # what is left out becomes a harmless constant before any arithmetic: NaN times 0 is NaN
        voxels = F.normalize(torch.where(counted.unsqueeze(1), full(features), 1.0), dim=1, eps=1e-6)
        centers = F.normalize(torch.where(valid.unsqueeze(1), full(prototypes), 1.0), dim=1, eps=1e-6)
        similar = (voxels @ centers.t() / temperature).masked_fill(~valid, torch.finfo(voxels.dtype).min / 2)
        positive = similar.gather(1, own.unsqueeze(1)).squeeze(1)
        if others_only:
            chosen = F.one_hot(own, classes).bool()
            similar = similar.masked_fill(chosen, torch.finfo(voxels.dtype).min / 2)
        terms = torch.where(counted, similar.logsumexp(1) - positive, 0.0)
        shares = counted.to(terms)
        sums, counts = (torch.zeros_like(centers[:, 0]).index_add(0, own, each) for each in (terms, shares))
        loss = (sums / counts.clamp(min=1)).sum() / counts.gt(0).sum().clamp(min=1)
        return loss + 0.0 * voxels.sum()  # connected to the features even where nothing is counted


def class_prototypes(
    features: Tensor, labels: Tensor, certain: Tensor, classes: int, minimum: int = 1
) -> tuple[Tensor, Tensor]:
    """The mean feature of each class over the voxels that are certain, and which classes have one (Eq. 4).

    Args:
        features: (B, D, *spatial).
        labels: (B, *spatial) predicted class of each voxel.
        certain: (B, *spatial) bool, the voxels that count.
        classes: K, background included.
        minimum: certain voxels that a class needs to be valid, at least 1.

    Returns:
        prototypes (K, D) in float32, of length as it comes, 0 in rows that are not valid; valid (K,) bool.
    """
    with no_autocast(features):
        rows = full(features).flatten(2)
        numbers = torch.arange(classes, device=labels.device).view(-1, 1, *[1] * (labels.dim() - 1))
        members = (labels.eq(numbers) & certain).flatten(2).to(rows)  # (K, B, N)
        counts = members.sum((1, 2))
        valid = counts.ge(max(minimum, 1))
        means = torch.einsum("kbn,bdn->kd", members, rows) / counts.clamp(min=1).unsqueeze(1)
        return torch.where(valid.unsqueeze(1), means, 0.0), valid


def prototype_similarity(prototypes: Tensor, valid: Tensor) -> Tensor:
    """Mean cosine of the pairs of valid prototypes: minimized, it keeps the classes apart.

    Args:
        prototypes: (K, D); a row that is not valid may hold anything.
        valid: (K,) bool.

    Returns:
        a scalar in [-1, 1], float32; 0, still with a gradient, where there is no pair.
    """
    with no_autocast(prototypes):
        centers = F.normalize(torch.where(valid.unsqueeze(1), full(prototypes), 1.0), dim=1, eps=1e-6)
        pairs = (valid.unsqueeze(0) & valid.unsqueeze(1)).triu(1)
        cosines = torch.where(pairs, centers @ centers.t(), 0.0)
        return cosines.sum() / pairs.sum().clamp(min=1) + 0.0 * centers.sum()
