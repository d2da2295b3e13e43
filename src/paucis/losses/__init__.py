"""Losses: tensors in, a scalar out."""

from paucis.losses.consistency import masked_mean, squared_difference, symmetric_divergence
from paucis.losses.divergence import jensen_shannon, kl_divergence
from paucis.losses.entropy import entropy_loss
from paucis.losses.segmentation import cross_entropy, dice_loss, segmentation_loss

__all__ = [
    "cross_entropy",
    "dice_loss",
    "entropy_loss",
    "jensen_shannon",
    "kl_divergence",
    "masked_mean",
    "segmentation_loss",
    "squared_difference",
    "symmetric_divergence",
]
