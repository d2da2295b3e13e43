"""FixMatch: what is sure of an image weakly changed is the label of it strongly changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from paucis.batch import Batch, Task
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.methods.parts.modes import evaluating
from paucis.methods.parts.pseudo_labels import PseudoLossOptions, pseudo_labels, pseudo_loss
from paucis.methods.parts.strong import StrongOptions, StrongView
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class FixMatchOptions(ConsistencyOptions, StrongOptions, PseudoLossOptions):
    """Options of FixMatch: the paper's threshold and constant weight."""

    consistency: float = option(1.0, "largest weight of the loss on unlabeled images", minimum=0.0)
    ramp_kind: Literal["gaussian", "linear", "constant"] = option("constant", "form of the rise")


@register("fixmatch")
class FixMatch(Method):
    """``L = L_sup + w * L(p(strong(x_u)), argmax p(x_u))`` over voxels with ``max p(x_u) >= 0.95``.

    The weak view is the image as the base augmentation left it; the strong view changes its intensities further, in
    the same geometry. Labels are made in eval mode, without gradient. Voxels below the threshold are left out of the
    sum, but not of the number it is divided by, as in the paper.

    Reference:
        K. Sohn et al.: FixMatch: simplifying semi-supervised learning with consistency and confidence. NeurIPS 2020.

    Deviations:
        a public segmentation benchmark measures confidence as ``(p - min) / max``, turns voxels below 0.8 into
        background and lets the weight rise to 0.1: the first two are not imitated, the last is ``consistency=0.1
        ramp_kind=gaussian``. No moving average of the weights is reported. The strong view has brightness, contrast
        and blur in place of RandAugment.
    """

    Options = FixMatchOptions

    def __init__(self, build: Build, task: Task, options: FixMatchOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.strong = StrongView(task, options)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the labeled images, the strong view against sure labels of the weak one."""
        labeled, unlabeled = parts(batch)
        count, valid = len(labeled.images), valid_unlabeled(batch)
        with evaluating(self.network), torch.no_grad():
            weak = pseudo_labels(self.network(unlabeled).logits, valid)
        strong = self.strong(unlabeled)
        features: Features = self.network(torch.cat([labeled.images, strong]))
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        sure = weak.sure(self.options.threshold) * valid
        pseudo = pseudo_loss(features.logits[count:], weak, self.options)
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "pseudo": factor * pseudo},
            {"consistency_weight": factor, "sure": sure.sum() / valid.sum().clamp(min=1)},
            Aligned(first(features, count), labeled.labels),
        )
