"""Mean Teacher: the student agrees on unlabeled images with the average of its own past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Batch, Task
from paucis.losses.consistency import squared_difference, symmetric_divergence
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Prediction, Setting, StepResult, register
from paucis.methods.ema import EmaTeacher
from paucis.methods.ramps import weight
from paucis.methods.supervised import SupervisedOptions, supervised_loss
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class MeanTeacherOptions(SupervisedOptions):
    """Defaults as the semi-supervised segmentation literature has them (30,000 iterations, ramp over all of them)."""

    consistency: float = option(0.1, "largest weight of the consistency loss", minimum=0.0)
    distance: Literal["mse", "kl"] = option(
        "mse", "consistency: squared difference of probabilities, or symmetric divergence"
    )
    consistency_on: Literal["unlabeled", "all"] = option("unlabeled", "images that the consistency loss counts")
    ramp: float = option(1.0, "share of the training over which the weight rises", minimum=0.0, maximum=1.0)
    ramp_kind: Literal["gaussian", "linear", "constant"] = option("gaussian", "form of the rise")
    start: float = option(0.0, "share of the training before the weight begins to rise", minimum=0.0, maximum=1.0)
    decay: float = option(0.99, "share of the teacher's weights kept in a step", minimum=0.0, maximum=1.0)
    warmup: bool = option(True, "shorter memory of the teacher in the first steps")
    noise: float = option(0.1, "standard deviation of the noise on the teacher's images", minimum=0.0)
    noise_limit: float = option(0.2, "largest noise in absolute value", minimum=0.0)
    teacher_mode: Literal["train", "eval"] = option(
        "train", "whether dropout and batch statistics act in the teacher during training"
    )
    teacher_buffers: Literal["own", "copy", "average"] = option(
        "own", "the teacher's normalization statistics: from its own passes, the student's, or averaged"
    )
    predict: Literal["student", "teacher"] = option("student", "network that is validated and predicts")


@register("mean_teacher")
class MeanTeacher(Method):
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

    def __init__(self, build: Build, task: Task, options: MeanTeacherOptions) -> None:
        super().__init__(build, task, options)
        self.student = build()
        self.teacher = EmaTeacher(
            self.student, options.decay, options.warmup, buffers=options.teacher_buffers, mode=options.teacher_mode
        )

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of the labeled images, consistency of student and teacher."""
        assert batch.labeled is not None
        assert batch.unlabeled is not None
        count = len(batch.labeled.images)
        images = torch.cat([batch.labeled.images, batch.unlabeled])
        features: Features = self.student(images)  # one pass: normalization sees both parts
        logits = features.logits
        supervised = supervised_loss(logits[:count], batch.labeled, self.options)
        valid = valid_voxels(batch)
        if self.options.consistency_on == "unlabeled":
            images, logits, valid = images[count:], logits[count:], valid[count:]
        target: Tensor = self.teacher(self._noisy(images)).logits
        factor = self.options.consistency * self._rise(clock)
        consistency = self._distance(logits, target, valid)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), batch.labeled.labels),
        )

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The teacher follows the student."""
        self.teacher.update(self.student, clock.step)

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of the student, or of the teacher where ``predict=teacher``."""
        network = self.student if self.options.predict == "student" else self.teacher
        return Prediction({"probabilities": network(images).logits.float().softmax(1)})

    @classmethod
    def check(cls, setting: Setting, options: MeanTeacherOptions) -> list[str]:
        """Adds: a teacher in eval mode cannot gather statistics of its own."""
        problems = super().check(setting, options)
        if options.teacher_mode == "eval" and options.teacher_buffers == "own":
            problems.append(
                "method.teacher_mode=eval leaves the teacher without normalization statistics of its own: "
                "add method.teacher_buffers=copy"
            )
        return problems

    def _noisy(self, images: Tensor) -> Tensor:
        limit = self.options.noise_limit
        noise = torch.randn_like(images) * float(self.options.noise)
        return images + noise.clamp(-limit, limit)

    def _rise(self, clock: Clock) -> float:
        return weight(self.options.ramp_kind, clock.fraction, self.options.ramp, self.options.start)

    def _distance(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        if self.options.distance == "kl":
            return symmetric_divergence(logits, target, valid)
        return squared_difference(logits.float().softmax(1), target.float().softmax(1), valid)


def valid_voxels(batch: Batch) -> Tensor:
    """Where labeled and unlabeled images, in this order, show real image: (B_labeled + B_unlabeled, *spatial) bool."""
    assert batch.labeled is not None
    assert batch.unlabeled is not None
    unlabeled = batch.valid
    if unlabeled is None:
        unlabeled = torch.ones_like(batch.unlabeled[:, 0], dtype=torch.bool)
    return torch.cat([batch.labeled.labels.ne(IGNORE), unlabeled])


def first(features: Features, count: int) -> Features:
    """The features of the first ``count`` images of a batch."""
    return Features(
        tuple(feature[:count] for feature in features.encoder),
        tuple(feature[:count] for feature in features.decoder),
        features.logits[:count],
    )
