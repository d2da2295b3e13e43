"""The supervised part that all methods share: the options of the loss against labels, and the loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from paucis.batch import Annotated
from paucis.losses.segmentation import segmentation_loss
from paucis.options import option


@dataclass(frozen=True)
class SupervisedOptions:
    """The loss against labels; options of methods inherit from it, so that all are trained with the same one."""

    ce: float = option(0.5, "weight of the cross-entropy on labels", minimum=0.0)
    dice: float = option(0.5, "weight of the Dice loss on labels", minimum=0.0)
    dice_background: bool = option(True, "whether the Dice loss counts the background as a class")
    dice_squared: bool = option(True, "squared terms in the denominator of the Dice loss")


def supervised_loss(logits: Tensor, annotated: Annotated, options: SupervisedOptions) -> Tensor:
    """``ce * CE + dice * Dice`` of logits (B, K, *spatial) against labels, weighted by their confidence."""
    return segmentation_loss(
        logits,
        annotated.labels,
        weights=annotated.weights,
        ce=options.ce,
        dice=options.dice,
        include_background=options.dice_background,
        squared=options.dice_squared,
    )
