"""Entropy minimization: be sure of unlabeled images too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from paucis.batch import Batch, Task
from paucis.losses.entropy import entropy_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_voxels
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class EntropyMinimizationOptions(ConsistencyOptions):
    """Options of entropy minimization."""

    entropy_on: Literal["unlabeled", "all"] = option("unlabeled", "images whose entropy is lowered")


@register("entropy_minimization")
class EntropyMinimization(Method):
    """One network: ``L = L_sup(labeled) + w(t) * mean H(p_u) / ln C``.

    Reference:
        Y. Grandvalet, Y. Bengio: Semi-supervised learning by entropy minimization. NeurIPS 2004; per pixel
        T.-H. Vu et al.: ADVENT. CVPR 2019; weight and ramp of the public segmentation benchmarks.

    Deviations:
        the benchmarks lower the entropy of labeled images too (``entropy_on=all``); the papers that of unlabeled ones.
        They add 1e-6 within the logarithm; here it is exact. Voxels on padding are not counted.
    """

    Options = EntropyMinimizationOptions

    def __init__(self, build: Build, task: Task, options: EntropyMinimizationOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the labeled images, entropy of the unlabeled ones."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        begin = count if self.options.entropy_on == "unlabeled" else 0
        entropy = entropy_loss(features.logits[begin:], valid_voxels(batch)[begin:])
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "entropy": factor * entropy},
            {"consistency_weight": factor, "mean_entropy": entropy.detach()},
            Aligned(first(features, count), labeled.labels),
        )
