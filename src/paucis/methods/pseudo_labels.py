"""Labels made from predictions: hard, with their confidence, and cleaned of small components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from paucis.batch import IGNORE
from paucis.views.mixing import paste


class PseudoLabels(NamedTuple):
    """What a network takes images for.

    Attributes:
        labels: (B, *spatial) int64, the most probable class; ``IGNORE`` where the image is not valid.
        confidence: (B, *spatial) float32, its probability.
    """

    labels: Tensor
    confidence: Tensor

    def sure(self, threshold: float) -> Tensor:
        """(B, *spatial) float32: 1 where the confidence reaches the threshold, else 0."""
        return self.confidence.ge(threshold).to(self.confidence)

    def pasted(self, partner: Tensor, box: Tensor) -> PseudoLabels:
        """Inside the box the labels and confidence of the partner image, elsewhere the image's own."""
        partner = partner.to(self.labels.device)
        return PseudoLabels(*(paste(values[partner], values, box) for values in self))


@torch.no_grad()
def pseudo_labels(logits: Tensor, valid: Tensor | None = None) -> PseudoLabels:
    """The most probable class of every voxel and its probability, without gradient.

    Args:
        logits: (B, K, *spatial).
        valid: (B, *spatial) bool; None for all.
    """
    confidence, labels = logits.float().softmax(1).max(1)
    return PseudoLabels(labels if valid is None else labels.masked_fill(~valid, IGNORE), confidence)


@torch.no_grad()
def largest_components(labels: Tensor, classes: int) -> Tensor:
    """Each class of each image keeps its largest connected component; the rest becomes background.

    Components are joined over corners. ``IGNORE`` stays; a class that is absent stays absent. Computed on the CPU.

    Args:
        labels: (B, *spatial) class indices.
        classes: number of classes, background included.
    """
    given = labels.cpu().numpy()
    kept = np.where(given == IGNORE, IGNORE, 0)
    structure = np.ones((3,) * (labels.ndim - 1), dtype=bool)
    for image, target in zip(given, kept, strict=True):
        for label in range(1, classes):
            components, count = ndimage.label(image == label, structure)
            if count:
                largest = np.bincount(components.ravel())[1:].argmax() + 1
                target[components == largest] = label
    return torch.from_numpy(kept).to(labels)
