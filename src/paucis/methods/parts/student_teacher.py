"""A student network and its moving average: what all methods with a mean teacher share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from paucis.batch import Task
from paucis.methods.base import Build, Clock, Method, Prediction, Setting, StepResult
from paucis.methods.parts.ema import EmaTeacher
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.networks.base import Network
from paucis.options import option


@dataclass(frozen=True)
class TeacherOptions(SupervisedOptions):
    """The moving average, and which network predicts."""

    decay: float = option(0.99, "share of the teacher's weights kept in a step", minimum=0.0, maximum=1.0)
    warmup: bool = option(True, "shorter memory of the teacher in the first steps")
    teacher_mode: Literal["train", "eval"] = option(
        "train", "whether dropout and batch statistics act in the teacher during training"
    )
    teacher_buffers: Literal["own", "copy", "average"] = option(
        "own", "the teacher's normalization statistics: from its own passes, the student's, or averaged"
    )
    predict: Literal["student", "teacher"] = option("student", "network that is validated and predicts")


class StudentTeacher(Method):
    """A method with a student and a moving-average teacher; a subclass says in ``step`` what they learn.

    Args:
        build: makes a freshly initialised network.
        task: the task.
        options: with the fields of ``TeacherOptions``.
        student: the network to go on with instead of a fresh one.
    """

    def __init__(self, build: Build, task: Task, options: TeacherOptions, student: Network | None = None) -> None:
        super().__init__(build, task, options)
        self.student = build() if student is None else student
        self.teacher = EmaTeacher(
            self.student, options.decay, options.warmup, buffers=options.teacher_buffers, mode=options.teacher_mode
        )

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The teacher follows the student."""
        self.teacher.update(self.student, clock.step)

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of the student, or of the teacher where ``predict=teacher``."""
        network = self.student if self.options.predict == "student" else self.teacher
        return Prediction({"probabilities": network(images).logits.float().softmax(1)})

    @classmethod
    def check(cls, setting: Setting, options: TeacherOptions) -> list[str]:
        """Adds: a teacher in eval mode cannot gather statistics of its own."""
        return super().check(setting, options) + teacher_problems(options)


def teacher_problems(options: TeacherOptions) -> list[str]:
    """What a moving average cannot work with, one line each."""
    if options.teacher_mode == "eval" and options.teacher_buffers == "own":
        return [
            "method.teacher_mode=eval leaves the teacher without normalization statistics of its own: "
            "add method.teacher_buffers=copy"
        ]
    return []
