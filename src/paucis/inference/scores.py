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
    """

    label: int
    voxels: int
    volume: float
    confidence: float
    entropy: float


class CaseScores:
    """Sums per class over the slabs of a case.

    Args:
        classes: number of classes, background included.
        geometry: of the scan.
    """

    def __init__(self, classes: int, geometry: Geometry) -> None:
        self.unit = "mL" if geometry.physical else "pixels"
        self.voxel = float(np.prod(geometry.spacing)) / 1000 if geometry.physical else 1.0
        self.sums = torch.zeros(3, classes, dtype=torch.float64)

    def add(self, mask: Tensor, confidence: Tensor, entropy: Tensor) -> None:
        """Adds a slab: class indices, confidence and entropy, each (Z, Y, X)."""
        classes = self.sums.shape[1]
        region = mask.reshape(-1).long()
        columns = (torch.ones_like(confidence), confidence, entropy)
        counts = [torch.bincount(region, column.reshape(-1).double(), minlength=classes) for column in columns]
        self.sums += torch.stack(counts).cpu()

    def table(self) -> list[ClassScore]:
        """One row per class, the background first."""
        rows = []
        for index, (voxels, confidence, entropy) in enumerate(self.sums.T.tolist()):
            share = 1 / voxels if voxels else float("nan")
            rows.append(ClassScore(index, int(voxels), voxels * self.voxel, confidence * share, entropy * share))
        return rows
