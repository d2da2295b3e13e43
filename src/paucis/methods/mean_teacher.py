"""Mean Teacher: the student agrees on unlabeled images with the average of its own past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import Batch
from paucis.losses.consistency import squared_difference, symmetric_divergence
from paucis.methods.base import Aligned, Clock, Phase, StepResult, register
from paucis.methods.parts.monte_carlo import noisy
from paucis.methods.parts.student_teacher import StudentTeacher, TeacherOptions
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_voxels
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class MeanTeacherOptions(ConsistencyOptions, TeacherOptions):
    """Defaults as the semi-supervised segmentation literature has them (30,000 iterations, ramp over all of them)."""

    distance: Literal["mse", "kl"] = option(
        "mse", "consistency: squared difference of probabilities, or symmetric divergence"
    )
    consistency_on: Literal["unlabeled", "all"] = option("unlabeled", "images that the consistency loss counts")
    noise: float = option(0.1, "standard deviation of the noise on the teacher's images", minimum=0.0)
    noise_limit: float = option(0.2, "largest noise in absolute value", minimum=0.0)


@register("mean_teacher")
class MeanTeacher(StudentTeacher):
    """Student and moving-average teacher: ``L = L_sup(labeled) + w(t) * mean (p_u - p'_u)^2``.

    The teacher sees the unlabeled images with clipped Gaussian noise and passes no gradient; the weight rises as
    ``consistency * exp(-5 (1 - t / ramp)^2)`` with t the share of the training that lies behind.

    Reference:
        A. Tarvainen, H. Valpola: Mean teachers are better role models: weight-averaged consistency targets improve
        semi-supervised deep learning results. NeurIPS 2017; in the form of the public segmentation benchmarks
        (consistency 0.1, decay 0.99, a ramp over the whole of 30,000 iterations).

    Deviations:
        the ramp rises with every step, not every 150 iterations, and ``ramp`` is a share of the training, so that
        short runs see all of it; 1.0 is what the benchmarks do (200 x 150 of 30,000 iterations, 40 x 150 of 6,000).
        The 2D benchmark keeps the weight at 0 for its first 1,000 of 30,000 iterations: ``start=0.033``. Voxels on
        padding are not counted.
    """

    Options = MeanTeacherOptions

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the labeled images, consistency of student and teacher."""
        labeled, unlabeled = parts(batch)
        count, options = len(labeled.images), self.options
        images = torch.cat([labeled.images, unlabeled])
        features: Features = self.student(images)  # one pass: normalization sees both parts
        logits, valid = features.logits, valid_voxels(batch)
        supervised = supervised_loss(logits[:count], labeled, options)
        if options.consistency_on == "unlabeled":
            images, logits, valid = images[count:], logits[count:], valid[count:]
        target: Tensor = self.teacher(noisy(images, options.noise, options.noise_limit)).logits
        factor = risen(options, clock)
        consistency = self._distance(logits, target, valid)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    def _distance(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        if self.options.distance == "kl":
            return symmetric_divergence(logits, target, valid)
        return squared_difference(logits.float().softmax(1), target.float().softmax(1), valid)
