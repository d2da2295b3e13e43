"""Uncertainty-aware Mean Teacher: the student follows its teacher where the teacher is sure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from paucis.batch import Batch
from paucis.losses.consistency import squared_difference
from paucis.methods.base import Aligned, Clock, Phase, StepResult, register
from paucis.methods.parts.monte_carlo import noisy, noisy_passes
from paucis.methods.parts.ramps import gaussian
from paucis.methods.parts.student_teacher import StudentTeacher, TeacherOptions
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option
from paucis.uncertainty.entropy import predictive_entropy


@dataclass(frozen=True)
class UaMtOptions(ConsistencyOptions, TeacherOptions):
    """Options of UA-MT."""

    noise: float = option(0.1, "standard deviation of the noise on the teacher's images", minimum=0.0)
    noise_limit: float = option(0.2, "largest noise in absolute value", minimum=0.0)
    passes: int = option(8, "noisy passes of the teacher whose mean has the entropy", minimum=1)
    passes_at_once: int = option(2, "passes in one batch; fewer need less memory", minimum=1)
    threshold_start: float = option(
        0.75, "entropy below which a voxel counts at first, as a share of the largest", minimum=0.0, maximum=1.0
    )
    largest_entropy: float | None = option(
        None, "largest entropy in nats; none = ln C. The published code has 0.6931 (ln 2) for any C", minimum=0.0
    )
    divisor: float | None = option(
        None, "of the sum over classes; none = C. The published code has 2 for any C", minimum=1.0
    )


@register("ua_mt")
class UaMt(StudentTeacher):
    """Mean Teacher whose consistency counts only voxels of low entropy.

    ``L = L_sup + w(t) * sum M |p - p'|^2 / (C sum M)`` with ``M = [H < (0.75 + 0.25 r(t)) ln C]``: H is the entropy of
    the mean over eight noisy passes of the teacher, r the Gaussian ramp over the whole training.

    Reference:
        L. Yu et al.: Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium segmentation.
        MICCAI 2019.

    Deviations:
        the published code has two-class constants, ln 2 and the divisor 2, for any number of classes: here ln C and C,
        which are the same for two; ``largest_entropy=0.6931 divisor=2`` brings them back. The ramp is a share of the
        training and rises with every step. Voxels on padding are not counted. Where no voxel is sure the loss is 0.
    """

    Options = UaMtOptions

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the labeled images, masked consistency of student and teacher."""
        labeled, unlabeled = parts(batch)
        count, options = len(labeled.images), self.options
        features: Features = self.student(torch.cat([labeled.images, unlabeled]))
        supervised = supervised_loss(features.logits[:count], labeled, options)
        target: Tensor = self.teacher(noisy(unlabeled, options.noise, options.noise_limit)).logits
        samples = noisy_passes(
            self.teacher, unlabeled, options.passes, options.noise, options.noise_limit, options.passes_at_once
        )
        valid = valid_unlabeled(batch)
        sure = predictive_entropy(samples).lt(self.threshold(clock)) & valid
        difference = squared_difference(features.logits[count:].float().softmax(1), target.float().softmax(1), sure)
        classes = self.task.classes
        consistency = difference * (classes / (options.divisor or classes))
        factor = risen(options, clock)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "sure": sure.sum() / valid.sum().clamp(min=1)},
            Aligned(first(features, count), labeled.labels),
        )

    def threshold(self, clock: Clock) -> float:
        """Entropy in nats below which a voxel counts: from a share of the largest to the largest."""
        start, largest = self.options.threshold_start, self.options.largest_entropy
        share: float = start + (1.0 - start) * gaussian(clock.fraction)
        return share * (math.log(self.task.classes) if largest is None else float(largest))
