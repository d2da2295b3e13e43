"""Uncertainty rectified pyramid consistency: predictions at several scales of one decoder agree with their mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.losses.precision import full, no_autocast
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.methods.parts.decoders import decoder_sites
from paucis.methods.parts.perturbations import dropped, feature_dropout, feature_noise
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.networks.blocks import conv, resize_to
from paucis.options import option

_CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (feature_noise, feature_dropout, partial(dropped, rate=0.5))


@dataclass(frozen=True)
class URPCOptions(ConsistencyOptions):
    """The pyramid."""

    scales: int = option(4, "predictions: the network's own, and of the next coarser decoder maps", minimum=2)
    upsampling: Literal["nearest", "linear"] = option("nearest", "of the coarser predictions to the images' size")
    perturb: bool = option(True, "whether training perturbs the features below the coarser predictions")


@register("urpc")
class URPC(Method):
    """A head on every decoder map, each prediction at full size; their mean teaches each of them.

    With ``p_m`` the mean of S predictions and ``V_s = KL(p_m | p_s)`` at every voxel::

        L = mean_s L_sup(p_s) + w(t) * mean_s [ mean((p_m - p_s)^2 e^-V_s) / (mean e^-V_s + 1e-8) + mean V_s ]

    In training the maps below the coarser predictions are perturbed, from the finest: noise, feature dropout,
    dropout. The reported prediction is the network's own.

    Reference:
        X. Luo et al.: Efficient semi-supervised gross target volume of nasopharyngeal carcinoma segmentation via
        uncertainty rectified pyramid consistency. MICCAI 2021; Medical Image Analysis 2022.

    Deviations:
        Divergences are computed from log-softmax: in the published code the logarithm of a vanished probability is
        infinite. A network with fewer decoder maps has fewer predictions. Voxels on padding are not counted.
    """

    Options = URPCOptions

    def __init__(self, build: Build, task: Task, options: URPCOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        coarser = decoder_sites(self.network)[-options.scales : -1]
        self.heads = nn.ModuleList(conv(task.ndim, site.channels, task.classes) for site in reversed(coarser))

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss at every scale, agreement of the scales on unlabeled images."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        pyramid = self.pyramid(features)
        supervised = torch.stack([supervised_loss(each[:count], labeled, self.options) for each in pyramid]).mean()
        consistency = pyramid_consistency([each[count:] for each in pyramid], valid_unlabeled(batch))
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    def pyramid(self, features: Features) -> list[Tensor]:
        """Logits (B, K, *spatial) of the network and of the coarser maps, fine to coarse."""
        predictions, size = [features.logits], features.logits.shape[2:]
        for number, (head, feature) in enumerate(zip(self.heads, features.decoder[-2::-1], strict=False)):
            if self.training and self.options.perturb:
                feature = _CHANGES[min(number, len(_CHANGES) - 1)](feature)
            coarse = head(feature)
            nearest = self.options.upsampling == "nearest"
            predictions.append(F.interpolate(coarse, tuple(size)) if nearest else resize_to(coarse, size))
        return predictions


def pyramid_consistency(logits: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
    """Mean over predictions of their rectified difference to the mean prediction, and of their divergence from it.

    Args:
        logits: S predictions of the same images, (B, K, *spatial) each. None is detached.
        valid: (B, *spatial) bool; None counts all voxels.
    """
    with no_autocast(logits[0]):
        logs = torch.stack([full(each).log_softmax(1) for each in logits])
        counted = torch.ones_like(logs[0, :, 0]) if valid is None else valid.to(logs)
        voxels = counted.sum().clamp(min=1)  # not a tiny number: 1 / (tiny * 1e-8) would be infinite
        log_mean = logs.logsumexp(0) - math.log(len(logs))
        mean, terms = log_mean.exp(), []
        for log in logs:
            divergence = (mean * (log_mean - log)).sum(1)
            certainty = (-divergence).exp()
            difference = (mean - log.exp()).square().mean(1) * certainty
            rectified = (difference * counted).sum() / voxels / ((certainty * counted).sum() / voxels + 1e-8)
            terms.append(rectified + (divergence * counted).sum() / voxels)
        return torch.stack(terms).mean()
