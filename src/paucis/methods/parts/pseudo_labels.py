"""Labels made from predictions: hard, with their confidence, and cleaned of small components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from paucis.batch import IGNORE
from paucis.losses.segmentation import cross_entropy, dice_loss
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.options import option
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


@dataclass(frozen=True)
class PseudoLossOptions(SupervisedOptions):
    """The loss against those pseudo-labels of which the network is sure."""

    threshold: float = option(0.95, "probability from which on a pseudo-label counts", minimum=0.0, maximum=1.0)
    pseudo_loss: Literal["dice", "ce", "both"] = option("ce", "loss against pseudo-labels")
    absent: Literal["left_out", "pushed_to_0"] = option(
        "left_out",
        "what the Dice loss does with classes that no sure pseudo-label names: left out, and the loss grows with the "
        "share of sure voxels; or pushed to 0, at full weight however few voxels are sure, as published",
    )


def pseudo_loss(logits: Tensor, target: PseudoLabels, options: PseudoLossOptions) -> Tensor:
    """The loss of logits against pseudo-labels at or above the threshold.

    Cross-entropy is summed over sure voxels and divided by the number of valid ones. The Dice loss has no such scale:
    from a hundred sure voxels, all background, it would push every other class to 0 as strongly as from whole images,
    and early in a training it then empties the very predictions it lives on. So it counts the classes that are named,
    and is weighted by the share of sure voxels.

    Args:
        logits: (B, K, *spatial).
        target: of the same images.
        options: threshold and form.
    """
    sure, both = target.sure(options.threshold), options.pseudo_loss == "both"
    loss = torch.zeros((), device=logits.device)
    if options.pseudo_loss != "dice":
        loss = loss + (options.ce if both else 1.0) * cross_entropy(logits, target.labels, weights=sure)
    if options.pseudo_loss != "ce":
        left_out = options.absent == "left_out"
        dice = dice_loss(
            logits,
            target.labels,
            weights=sure,
            include_background=options.dice_background,
            squared=options.dice_squared,
            named_only=left_out,
        )
        valid = target.labels.ne(IGNORE)
        share = (sure * valid).sum() / valid.sum().clamp(min=1) if left_out else 1.0
        loss = loss + (options.dice if both else 1.0) * share * dice
    return loss


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
