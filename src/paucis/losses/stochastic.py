"""The likelihood of labels under sampled logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.losses.precision import full, no_autocast


def stochastic_nll(samples: Tensor, labels: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """``-(logsumexp_s sum_v log p(y_v | g_v^s) - ln S) / V`` per image, then the mean over images.

    The probability of a whole image's labels is averaged over samples, not that of each voxel, so that voxels which
    err together may do so. With many voxels the best sample takes nearly all of the gradient.

    Args:
        samples: (S, B, K, *spatial) logits.
        labels: (B, *spatial) class indices; ``ignore_index`` is not counted.
        ignore_index: label of voxels left out; V counts the others.

    Returns:
        a scalar in float32, in nats per voxel; an image without counted voxels adds 0.

    Reference:
        M. Monteiro et al.: Stochastic segmentation networks: modelling spatially correlated aleatoric uncertainty.
        NeurIPS 2020; H. Wu, X. Li, K.-T. Cheng: Exploring feature representation learning for semi-supervised medical
        image segmentation. arXiv 2021, Eq. 3-4.

    Deviations:
        divided by V, as in the published code: the sum over a volume would drown every other loss.
    """
    with no_autocast(samples):
        number, batch = samples.shape[:2]
        targets = labels.long().unsqueeze(0).expand(number, *labels.shape).flatten(0, 1)
        losses = F.cross_entropy(full(samples).flatten(0, 1), targets, ignore_index=ignore_index, reduction="none")
        log_likelihood = -losses.flatten(1).sum(1).view(number, batch)
        voxels = labels.ne(ignore_index).flatten(1).sum(1).clamp(min=1)
        each: Tensor = (math.log(number) - torch.logsumexp(log_likelihood, 0)) / voxels
        return each.sum() / max(batch, 1)
