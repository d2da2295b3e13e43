"""Interpolation consistency training: the prediction of a mixture is the mixture of predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paucis.batch import Batch
from paucis.losses.consistency import squared_difference
from paucis.methods.base import Aligned, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.student_teacher import StudentTeacher, TeacherOptions
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, cannot_mix, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option
from paucis.views.mixing import halves


@dataclass(frozen=True)
class IctOptions(ConsistencyOptions, TeacherOptions):
    """Options of ICT."""

    alpha: float = option(0.2, "of the distribution Beta(alpha, alpha) of shares in a mixture", minimum=1e-3)


@register("ict")
class Ict(StudentTeacher):
    """``L = L_sup + w(t) * mean (p(b x1 + (1-b) x0) - b p'(x1) - (1-b) p'(x0))^2``, b from Beta(0.2, 0.2) per pair.

    x0 and x1 are the two halves of the unlabeled images; p' is the moving-average teacher, without noise or gradient.

    Reference:
        V. Verma et al.: Interpolation consistency training for semi-supervised learning. IJCAI 2019; in the form of
        the public segmentation benchmarks.

    Deviations:
        an odd batch shares its middle image between both halves. A mixed voxel counts where both images are valid.
        The ramp is a share of the training and rises with every step.
    """

    Options = IctOptions

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the labeled images, consistency of mixed ones."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        zero, one = halves(len(unlabeled))
        share = self._shares(len(zero), unlabeled)
        mixed = torch.lerp(unlabeled[zero], unlabeled[one], share)
        features: Features = self.student(torch.cat([labeled.images, mixed]))
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        teacher: Tensor = self.teacher(unlabeled).logits.float().softmax(1)
        target = torch.lerp(teacher[zero], teacher[one], share)
        valid = valid_unlabeled(batch)
        consistency = squared_difference(features.logits[count:].float().softmax(1), target, valid[zero] & valid[one])
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    @classmethod
    def check(cls, setting: Setting, options: TeacherOptions) -> list[str]:
        """Adds: a mixture needs two images."""
        return super().check(setting, options) + cannot_mix(cls.name, setting)

    def _shares(self, pairs: int, like: Tensor) -> Tensor:
        alpha = float(self.options.alpha)
        drawn = torch.distributions.Beta(alpha, alpha).sample((pairs,))
        return drawn.to(like).reshape(-1, *[1] * (like.ndim - 1))
