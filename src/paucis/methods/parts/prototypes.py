"""Mean and variance of the feature vectors of each class, gathered batch by batch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from paucis.methods.parts.memory import gathered

Covariance = Literal["diagonal", "full"]


class Statistics(NamedTuple):
    """Moments of the vectors of each class.

    Attributes:
        counts: (K,) vectors.
        means: (K, D); 0 for a class without vectors.
        variances: (K, D), or (K, D, D) covariances, about the mean, divided by the count.
    """

    counts: Tensor
    means: Tensor
    variances: Tensor


class Prototypes(nn.Module):
    """Running statistics of each class that equal those of all vectors at once.

    Batches are merged by their counts: ``m <- (1 - w) m + w m_b``, ``V <- (1 - w) V + w V_b + w (1 - w) (m - m_b)
    (m - m_b)'`` with ``w = n_b / (n + n_b)``. Every process merges the batches of all processes in the order of their
    ranks, so all hold the same. Kept in float64 in buffers: saved and resumed with the method.

    Args:
        classes: K.
        dim: D, length of a vector.
        covariance: ``diagonal`` variances, or ``full`` covariances.

    Reference:
        H. Wu, X. Li, K.-T. Cheng: Exploring feature representation learning for semi-supervised medical image
        segmentation. arXiv 2021, Eq. 13.
    """

    counts: Tensor
    means: Tensor
    variances: Tensor

    def __init__(self, classes: int, dim: int, covariance: Covariance = "diagonal") -> None:
        super().__init__()
        self.covariance = covariance
        shape = (classes, dim) if covariance == "diagonal" else (classes, dim, dim)
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(classes, dim, dtype=torch.float64))
        self.register_buffer("variances", torch.zeros(shape, dtype=torch.float64))

    @property
    def seen(self) -> Tensor:
        """(K,) bool: classes that have vectors."""
        return self.counts > 0

    @torch.no_grad()
    def update(self, vectors: Tensor, labels: Tensor) -> None:
        """Adds vectors of this process; every process must call it equally often.

        Args:
            vectors: (N, D).
            labels: (N,) class indices; others, such as ``IGNORE``, are left out.
        """
        found = self.measure(vectors, labels)
        for rank in zip(*(gathered(part.unsqueeze(0)) for part in found), strict=True):
            self._merge(Statistics(*rank))

    def measure(self, vectors: Tensor, labels: Tensor) -> Statistics:
        """The statistics of a batch alone."""
        counts, means, variances = (torch.zeros_like(part) for part in (self.counts, self.means, self.variances))
        for label in range(len(counts)):
            mine = vectors[labels == label].double()
            if len(mine) == 0:
                continue
            counts[label], means[label] = len(mine), mine.mean(0)
            mine = mine - means[label]
            variances[label] = mine.square().mean(0) if self.covariance == "diagonal" else mine.T @ mine / len(mine)
        return Statistics(counts, means, variances)

    def _merge(self, batch: Statistics) -> None:
        total = self.counts + batch.counts
        share = batch.counts / total.clamp(min=1)
        apart = self.means - batch.means
        outer = apart.square() if self.covariance == "diagonal" else apart.unsqueeze(2) * apart.unsqueeze(1)
        mixed = share.view(-1, *[1] * (outer.ndim - 1))
        self.variances.lerp_(batch.variances, mixed).add_(mixed * (1 - mixed) * outer)
        self.means.lerp_(batch.means, share.unsqueeze(1))
        self.counts.copy_(total)
