"""Bidirectional copy-paste: labeled and unlabeled images pasted into each other, both ways."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.methods.base import Build, Clock, Method, Phase, Setting, Stage, StepResult, register
from paucis.methods.parts.pseudo_labels import largest_components, pseudo_labels
from paucis.methods.parts.student_teacher import StudentTeacher, TeacherOptions
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import parts, valid_unlabeled
from paucis.networks.base import Features, Network
from paucis.options import option
from paucis.views.mixing import copy_paste_box, halves, paste


@dataclass(frozen=True)
class BcpOptions(TeacherOptions):
    """Options of BCP; ``pretraining`` as for the left atrium (10,000 of 40,000 batches for ACDC: 0.25)."""

    warmup: bool = option(False, "shorter memory of the teacher in the first steps")
    pretraining: float = option(
        0.12, "share of the training on labeled images alone, before the teacher", minimum=0.0, maximum=0.95
    )
    box: float = option(2 / 3, "length of the pasted box as a share of each axis", minimum=0.05, maximum=0.95)
    alpha: float = option(0.5, "weight of the pseudo-labeled region; the labeled one has 1", minimum=0.0)
    largest_component: bool = option(
        True, "pseudo-labels keep the largest component of each class; wrong where a class has several"
    )
    pretrain_regions: bool = option(False, "pretraining counts the box and its surrounding apart (published for ACDC)")


@register("bcp")
class Bcp(StudentTeacher):
    """Two stages: copy-paste between labeled images, then between labeled and unlabeled ones with a mean teacher.

    With a box 1-M and halves a, b of both parts the student sees ``in = x_a M + u_a (1-M)`` and
    ``out = u_b M + x_b (1-M)``; the targets are mixed alike from labels and the teacher's labels, of which each class
    keeps its largest component. ``L = sum over in, out of L(labeled region) + alpha L(pseudo-labeled region)``, L the
    supervised loss with means and sums over the region alone.

    Reference:
        Y. Bai et al.: Bidirectional copy-paste for semi-supervised medical image segmentation. CVPR 2023.

    Deviations:
        batches whose parts differ in size repeat the smaller part's halves; an odd part shares its middle image between
        both. The Dice loss has the toolkit's form in all settings. The published weight ramp is computed but never
        used, and is not here. The ACDC code averages the teacher's normalization statistics too
        (``teacher_buffers=average``). Components are joined over corners in 2D and 3D.
    """

    Options = BcpOptions

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of both mixed streams."""
        labeled, unlabeled = parts(batch)
        box = _box(unlabeled, self.options.box)
        labels = self._pseudo(unlabeled, valid_unlabeled(batch))
        pairs = max(len(halves(len(part))[0]) for part in (labeled.images, unlabeled))
        (a, b), (ua, ub) = halves(len(labeled.images), pairs), halves(len(unlabeled), pairs)
        inward = paste(unlabeled[ua], labeled.images[a], box)
        outward = paste(labeled.images[b], unlabeled[ub], box)
        loss_in = self._regions(inward, labels[ua], labeled.labels[a], box)
        loss_out = self._regions(outward, labeled.labels[b], labels[ub], box, swapped=True)
        return StepResult({"inward": loss_in, "outward": loss_out})

    @classmethod
    def stages(cls, options: BcpOptions) -> tuple[Stage, ...]:
        """Pretraining on labeled images, then the training with the teacher, which starts from it."""
        if options.pretraining == 0:
            return super().stages(options)
        return (
            Stage("pretrain", lambda build, task, _: CopyPaste(build, task, options), options.pretraining),
            Stage(
                "train",
                lambda build, task, earlier: cls(build, task, options, _continued(build(), earlier["pretrain"])),
                1.0 - options.pretraining,
                continues=True,
            ),
        )

    @classmethod
    def check(cls, setting: Setting, options: TeacherOptions) -> list[str]:
        """Adds: both parts of a batch are cut in two halves."""
        problems = super().check(setting, options)
        for key, size in (("batch_size", setting.batch_size), ("unlabeled_batch_size", setting.unlabeled_batch_size)):
            if size < 2 or size % 2:
                problems.append(
                    f"method '{cls.name}' pastes halves of a batch into each other and train.{key} is {size}: "
                    "set an even number of 2 or more"
                )
        return problems

    @torch.no_grad()
    def _pseudo(self, images: Tensor, valid: Tensor) -> Tensor:
        labels = pseudo_labels(self.teacher(images).logits, valid).labels
        return largest_components(labels, self.task.classes) if self.options.largest_component else labels

    def _regions(self, images: Tensor, inside: Tensor, outside: Tensor, box: Tensor, swapped: bool = False) -> Tensor:
        """The loss of one stream; the pseudo-labeled region is the box, or its surrounding where ``swapped``."""
        logits = self.student(images).logits
        alpha = self.options.alpha
        in_box, around = (1.0, alpha) if swapped else (alpha, 1.0)
        nothing = torch.full_like(inside, IGNORE)
        boxed = Annotated(images, paste(inside, nothing, box))
        surrounding = Annotated(images, paste(nothing, outside, box))
        loss = in_box * supervised_loss(logits, boxed, self.options)
        return loss + around * supervised_loss(logits, surrounding, self.options)


class CopyPaste(Method):
    """The first stage of BCP: a network trained on labeled images pasted into each other."""

    Options = BcpOptions
    uses_unlabeled = False

    def __init__(self, build: Build, task: Task, options: BcpOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The supervised loss of mixed images, on the whole image or on box and surrounding apart."""
        assert batch.labeled is not None
        images, labels, _ = batch.labeled
        a, b = halves(len(images))
        box = _box(images, self.options.box)
        mixed, target = paste(images[b], images[a], box), paste(labels[b], labels[a], box)
        features: Features = self.network(mixed)
        if not self.options.pretrain_regions:
            return StepResult({"supervised": supervised_loss(features.logits, Annotated(mixed, target), self.options)})
        nothing = torch.full_like(target, IGNORE)
        regions = (paste(target, nothing, box), paste(nothing, target, box))
        losses = [supervised_loss(features.logits, Annotated(mixed, region), self.options) for region in regions]
        return StepResult({"supervised": losses[0] + losses[1]})


def _box(images: Tensor, share: float) -> Tensor:
    return copy_paste_box(images.shape[2:], torch.default_generator, share).to(images.device)


def _continued(network: Network, earlier: Method) -> Network:
    """A fresh network with the weights of the earlier stage's; blocks that a plug-in put there start afresh."""
    weights = earlier.networks()[0].state_dict()
    network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("inserted.")})
    return network
