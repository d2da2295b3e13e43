"""Figures of a predicted case, class by class, summed slab by slab."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paucis.data.case import Geometry


class ClassScore(NamedTuple):
    """What was predicted of one class in one case.

    Attributes:
        label: index of the class.
        voxels: predicted as this class.
        volume: in mL, or in pixels where the file carries no lengths.
        confidence: mean over the predicted region of the largest probability; NaN when the region is empty.
        entropy: mean over the predicted region of the entropy in [0, 1]; NaN when the region is empty.
        score: Dice that the probabilities promise, ``2 sum_(v in M) p_v / (|M| + sum_v p_v)`` of the region M; of an
            empty region the chance that nothing is there, ``1 - max p`` (``soft Dice confidence``).
        low: volume where the probability is above 0.975.
        high: volume where it is above 0.025. Between the two lies the volume in 95 % of cases, if voxels are as sure
            as they say and err together: one hidden threshold u, uniform in [0, 1], for all, the structure being p > u.

    Reference: B. L. C. Borges, B. M. Pacheco, D. Silva: Soft Dice confidence. arXiv:2402.10665, 2024 (``score``).
    *Deviations*: for an empty region, where theirs is 0.
    """

    label: int
    voxels: int
    volume: float
    confidence: float
    entropy: float
    score: float
    low: float
    high: float


LIMITS = (0.975, 0.025)
"""Probabilities above which a voxel counts to the small and to the large end of a volume's 95 % interval."""


class CaseScores:
    """Sums per class over the slabs of a case.

    Args:
        classes: number of classes, background included.
        geometry: of the scan.
    """

    def __init__(self, classes: int, geometry: Geometry) -> None:
        self.unit = "mL" if geometry.physical else "pixels"
        self.voxel = float(np.prod(geometry.spacing)) / 1000 if geometry.physical else 1.0
        self.sums = torch.zeros(6, classes, dtype=torch.float64)
        self.largest = torch.zeros(classes, dtype=torch.float64)

    def add(self, mask: Tensor, probabilities: Tensor, entropy: Tensor) -> None:
        """Adds a slab: class indices and entropy (Z, Y, X), and the probabilities (K, Z, Y, X) that both are of."""
        classes = self.sums.shape[1]
        confidence = probabilities.amax(0)
        region = mask.reshape(-1).long()
        columns = (torch.ones_like(confidence), confidence, entropy)
        counts = [torch.bincount(region, column.reshape(-1).double(), minlength=classes) for column in columns]
        flat = probabilities.flatten(1)
        above = [(flat > limit).sum(1).double() for limit in LIMITS]
        self.sums += torch.stack([*counts, flat.sum(1, dtype=torch.float64), *above]).cpu()
        self.largest = torch.maximum(self.largest, flat.amax(1).double().cpu())

    def table(self) -> list[ClassScore]:
        """One row per class, the background first."""
        rows = []
        for index, (voxels, confidence, entropy, mass, low, high) in enumerate(self.sums.T.tolist()):
            share = 1 / voxels if voxels else float("nan")
            score = 2 * confidence / (voxels + mass) if voxels else 1 - float(self.largest[index])
            volumes = [count * self.voxel for count in (voxels, low, high)]
            rows.append(
                ClassScore(index, int(voxels), volumes[0], confidence * share, entropy * share, score, *volumes[1:])
            )
        return rows
