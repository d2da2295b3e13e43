"""Losses: tensors in, a scalar out."""

from paucis.losses.consistency import masked_mean, squared_difference, symmetric_divergence
from paucis.losses.divergence import jensen_shannon, kl_divergence
from paucis.losses.energy_distance import generalized_energy_distance
from paucis.losses.entropy import entropy_loss
from paucis.losses.equivariant import equivariance_loss
from paucis.losses.hypersphere_mixup import hypersphere_mixup, hypersphere_target
from paucis.losses.joint_discrimination import joint_discrimination, paired_discrimination
from paucis.losses.pairwise_contrast import pairwise_contrastive
from paucis.losses.patch_dragsaw import patch_affinity, patch_dragsaw
from paucis.losses.pixel_contrastive import pixel_contrastive
from paucis.losses.prototype_contrast import prototype_contrastive
from paucis.losses.region_discrimination import cluster_entropy, region_discrimination, region_prototypes
from paucis.losses.segmentation import cross_entropy, dice_loss, segmentation_loss
from paucis.losses.stochastic import stochastic_nll
from paucis.losses.supervised_contrast import supervised_contrastive
from paucis.losses.uncertain_prototype_contrastive import (
    class_prototypes,
    prototype_similarity,
    uncertain_prototype_contrastive,
)

__all__ = [
    "class_prototypes",
    "cluster_entropy",
    "cross_entropy",
    "dice_loss",
    "entropy_loss",
    "equivariance_loss",
    "generalized_energy_distance",
    "hypersphere_mixup",
    "hypersphere_target",
    "jensen_shannon",
    "joint_discrimination",
    "kl_divergence",
    "masked_mean",
    "paired_discrimination",
    "pairwise_contrastive",
    "patch_affinity",
    "patch_dragsaw",
    "pixel_contrastive",
    "prototype_contrastive",
    "prototype_similarity",
    "region_discrimination",
    "region_prototypes",
    "segmentation_loss",
    "squared_difference",
    "stochastic_nll",
    "supervised_contrastive",
    "symmetric_divergence",
    "uncertain_prototype_contrastive",
]
