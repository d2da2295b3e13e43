"""UCMT: two students teach each other under a common teacher, and learn again on images mixed by uncertainty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.losses.segmentation import dice_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Prediction, StepResult, register
from paucis.methods.parts.ema import EmaTeacher
from paucis.methods.parts.pseudo_labels import pseudo_labels
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.umix import block_grid, block_sources, rearranged
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option
from paucis.uncertainty.entropy import entropy
from paucis.views.intensity import Blur

_BLOCKS = {2: 16, 3: 8}


@dataclass(frozen=True)
class UCMTOptions(ConsistencyOptions):
    """Dice alone, as published; the ramp is that of 25 epochs in 2D."""

    ce: float = option(0.0, "weight of the cross-entropy on labels", minimum=0.0)
    dice: float = option(1.0, "weight of the Dice loss on labels", minimum=0.0)
    ramp: float = option(
        0.2, "share of the training over which the weight rises; 0.005 in the published 3D", minimum=0.0, maximum=1.0
    )
    blocks: int | None = option(None, "blocks along each axis of U-MIX; none = 16 in 2D and 8 in 3D", minimum=1)
    mixed: int = option(2, "blocks replaced for each student; 0 for no U-MIX", minimum=0)
    mixed_labels: Literal["moved", "kept"] = option(
        "moved", "teacher's pseudo-labels of mixed images: moved with their blocks; kept in place as published"
    )
    blur: float = option(2.0, "largest standard deviation of the students' blur in voxels; 0 for none", minimum=0.0)
    blur_probability: float = option(0.8, "of blurring an image", minimum=0.0, maximum=1.0)
    decay: float = option(0.99, "share of the teacher's weights kept in a step", minimum=0.0, maximum=1.0)
    share: float = option(0.99, "share of the first student in what the teacher follows", minimum=0.0, maximum=1.0)
    predict: Literal["teacher", "first", "second"] = option("teacher", "network that is validated and predicts")


@register("ucmt")
class UCMT(Method):
    """Collaborative mean teaching with U-MIX.

    With y' the classes of teacher (t) and students (1, 2), and D the Dice loss::

        L(x)  = mean_i L_sup(p_i) + w(t) [ (D(p_1, y'_2) + D(p_2, y'_1)) / 2 + (D(p_1, y'_t) + D(p_2, y'_t)) / 2 ]
        total = L(x) + L(U-MIX(x))

    U-MIX replaces the blocks where the entropy of the mean of student 1 and teacher is largest by those where that
    of student 2 and teacher is smallest, then the other way round; labels move along. Students see each image with
    blurs of their own, the teacher sees it sharp; it follows ``share * student 1 + (1 - share) * student 2``.

    Reference:
        Z. Shen et al.: Co-training with high-confidence pseudo labels for semi-supervised medical image segmentation.
        IJCAI 2023.

    Deviations:
        The losses of the images and of their mixes are minimised together, in one optimizer step; the published code
        takes two, with the same targets and blocks, and updates the teacher twice. The published code computes the
        moved pseudo-labels of the teacher but compares mixed images with those in place: ``mixed_labels=kept``.
        One pass per student sees labeled and unlabeled images together. The unlabeled stream does not
        contain the labeled cases. Blur alone, as in 3D, where the published 2D code also jitters colors. Published:
        AdamW with rate 1e-4. Voxels on padding are not counted, and blocks that hold some are not pasted elsewhere
        while there are others.
    """

    Options = UCMTOptions

    def __init__(self, build: Build, task: Task, options: UCMTOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.second = build()
        self.teacher = EmaTeacher(self.network, options.decay, buffers="own")
        self.blur = Blur(options.blur, options.blur_probability, task.spacing)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of the images, and the same of their mixes."""
        labeled, unlabeled = parts(batch)
        count, images = len(labeled.images), torch.cat([labeled.images, unlabeled])
        valid = torch.cat([labeled.labels.ne(IGNORE), valid_unlabeled(batch)])
        blurred = self._blurred(images)
        features: Features = self.network(blurred)
        logits = (features.logits, self.second(self._blurred(images)).logits)
        taught: Tensor = self.teacher(images).logits
        pseudo = pseudo_labels(taught[count:], valid[count:]).labels
        factor = risen(self.options, clock)
        losses = self._losses(logits, labeled, pseudo, valid[count:], factor)
        if self.options.mixed:
            losses |= self._mixed(blurred, logits, taught, labeled, pseudo, valid, factor)
        monitors: dict[str, Tensor | float] = {"consistency_weight": factor}
        return StepResult(losses, monitors, Aligned(first(features, count), labeled.labels))

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The teacher follows the weighted mean of the students."""
        self.teacher.update(_Mean(self.network, self.second, self.options.share), clock.step)

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of the teacher, or of a student."""
        network = {"teacher": self.teacher, "first": self.network, "second": self.second}[self.options.predict]
        return Prediction({"probabilities": network(images).logits.float().softmax(1)})

    def _losses(
        self, logits: tuple[Tensor, Tensor], labeled: Annotated, pseudo: Tensor, valid: Tensor, factor: float
    ) -> dict[str, Tensor]:
        count = len(labeled.images)
        one, two = (each[count:] for each in logits)
        supervised = [supervised_loss(each[:count], labeled, self.options) for each in logits]
        cross = self._dice(one, pseudo_labels(two, valid).labels) + self._dice(two, pseudo_labels(one, valid).labels)
        taught = self._dice(one, pseudo) + self._dice(two, pseudo)
        return {
            "supervised": (supervised[0] + supervised[1]) / 2,
            "cross": factor * cross / 2,
            "teacher": factor * taught / 2,
        }

    def _mixed(
        self,
        images: Tensor,
        logits: tuple[Tensor, Tensor],
        taught: Tensor,
        labeled: Annotated,
        pseudo: Tensor,
        valid: Tensor,
        factor: float,
    ) -> dict[str, Tensor]:
        grid = block_grid(images.shape[2:], self.options.blocks or _BLOCKS[self.task.ndim])
        answer = taught.float().softmax(1)
        one, two = (entropy((each.detach().float().softmax(1) + answer) / 2) for each in logits)
        sources = block_sources(one, two, grid, min(self.options.mixed, prod(grid)), valid)
        images, valid = (rearranged(each, sources, grid) for each in (images, valid))
        count = len(labeled.images)
        labels = rearranged(labeled.labels, sources[:count], grid)
        weights = None if labeled.weights is None else rearranged(labeled.weights, sources[:count], grid)
        if self.options.mixed_labels == "moved":
            pseudo = rearranged(pseudo, sources[count:], grid)
        mixed = Annotated(images[:count], labels, weights)
        again = (self.network(images).logits, self.second(images).logits)
        return {f"mixed_{k}": v for k, v in self._losses(again, mixed, pseudo, valid[count:], factor).items()}

    def _dice(self, logits: Tensor, labels: Tensor) -> Tensor:
        options = self.options
        return dice_loss(logits, labels, include_background=options.dice_background, squared=options.dice_squared)

    def _blurred(self, images: Tensor) -> Tensor:
        params = self.blur.sample(len(images), images.shape[2:], torch.default_generator)
        return self.blur.image(images, params)


class _Mean(nn.Module):
    """A network between two of the same structure, for a teacher to follow: weights and buffers, no forward pass."""

    def __init__(self, one: nn.Module, two: nn.Module, share: float) -> None:
        super().__init__()
        self._pair, self._share = (one, two), share  # in a tuple: read, but no submodules

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        for one, two in zip(*(each.parameters(recurse) for each in self._pair), strict=True):
            yield nn.Parameter(torch.lerp(two.detach(), one.detach(), self._share), requires_grad=False)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        for one, two in zip(*(each.buffers(recurse) for each in self._pair), strict=True):
            yield torch.lerp(two, one, self._share) if one.is_floating_point() else one
