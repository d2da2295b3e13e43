"""Cross-consistency training: further decoders, fed with perturbed features, agree with the main one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from paucis.batch import Batch, Task
from paucis.losses.consistency import squared_difference
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Setting, StepResult, register
from paucis.methods.parts.decoders import needs_further_decoders
from paucis.methods.parts.perturbations import dropped, feature_dropout, feature_noise
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class CCTOptions(ConsistencyOptions):
    """Strengths as published."""

    noise: float = option(0.3, "largest relative noise on features", minimum=0.0)
    dropout: float = option(0.3, "rate of dropout of features", minimum=0.0, maximum=0.95)
    feature_dropout: tuple[float, float] = option(
        (0.7, 0.9),
        "places whose activity reaches this share of the largest are removed; drawn between the two",
        minimum=0.0,
    )
    detach: bool = option(True, "no gradient of the consistency through the main decoder")
    supervise: Literal["all", "main"] = option("all", "decoders that learn from labels")


@register("cct")
class CCT(Method):
    """Three further decoders see the encoder's maps with noise, dropout and feature dropout.

    ``L = L_sup + w(t) * 1/3 sum_k mean (p_u - p_k,u)^2`` with p of the main decoder as the target.

    Reference:
        Y. Ouali, C. Hudelot, M. Tami: Semi-supervised semantic segmentation with cross-consistency training.
        CVPR 2020; in the form of the public segmentation benchmarks (three perturbations, consistency 0.1).

    Deviations:
        The paper passes no gradient through the main decoder's prediction, the benchmarks do: ``detach=false``. In
        the paper labels teach the main decoder alone (``supervise=main``, there with a weight of 30), in the
        benchmarks the mean over all four (the default, which goes with the weight of 0.1). Three of the paper's
        seven perturbations, on all encoder maps, skip connections included. Voxels on padding are not counted.
    """

    Options = CCTOptions

    def __init__(self, build: Build, task: Task, options: CCTOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.further = nn.ModuleList(self.network.new_decoder() for _ in range(3))

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the decoders, agreement of the further ones with the main one."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        every = self.options.supervise == "all"
        logits = self._perturbed(features if every else _after(features, count))
        heads = [features.logits, *logits] if every else [features.logits]
        supervised = torch.stack([supervised_loss(each[:count], labeled, self.options) for each in heads]).mean()
        target = features.logits[count:].float().softmax(1)
        target = target.detach() if self.options.detach else target
        valid = valid_unlabeled(batch)
        differences = [squared_difference(each[-len(unlabeled) :].float().softmax(1), target, valid) for each in logits]
        consistency = torch.stack(differences).mean()
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    @classmethod
    def check(cls, setting: Setting, options: CCTOptions) -> list[str]:
        """Adds: the network must make further decoders."""
        return super().check(setting, options) + needs_further_decoders(setting, cls.name)

    def _perturbed(self, features: Features) -> list[Tensor]:
        options, size = self.options, features.logits.shape[2:]
        changes: tuple[Callable[[Tensor], Tensor], ...] = (
            partial(feature_noise, limit=options.noise),
            partial(dropped, rate=options.dropout),
            partial(feature_dropout, low=options.feature_dropout[0], high=options.feature_dropout[1]),
        )
        return [
            decoder([change(feature) for feature in features.encoder], size)[1]
            for decoder, change in zip(self.further, changes, strict=True)
        ]


def _after(features: Features, count: int) -> Features:
    return Features(
        tuple(feature[count:] for feature in features.encoder),
        tuple(feature[count:] for feature in features.decoder),
        features.logits[count:],
    )
