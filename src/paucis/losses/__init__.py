"""Losses: tensors in, a scalar out."""

from paucis.losses.consistency import masked_mean, squared_difference, symmetric_divergence
from paucis.losses.divergence import jensen_shannon, kl_divergence
from paucis.losses.entropy import entropy_loss
from paucis.losses.equivariant import equivariance_loss
from paucis.losses.patch_dragsaw import patch_affinity, patch_dragsaw
from paucis.losses.pixel_contrastive import pixel_contrastive
from paucis.losses.segmentation import cross_entropy, dice_loss, segmentation_loss
from paucis.losses.uncertain_prototype_contrastive import (
    class_prototypes,
    prototype_similarity,
    uncertain_prototype_contrastive,
)

__all__ = [
    "class_prototypes",
    "cross_entropy",
    "dice_loss",
    "entropy_loss",
    "equivariance_loss",
    "jensen_shannon",
    "kl_divergence",
    "masked_mean",
    "patch_affinity",
    "patch_dragsaw",
    "pixel_contrastive",
    "prototype_similarity",
    "segmentation_loss",
    "squared_difference",
    "symmetric_divergence",
    "uncertain_prototype_contrastive",
]
