"""Cross teaching between a convolutional network and a transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.segmentation import dice_loss
from paucis.methods.base import Aligned, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.pseudo_labels import pseudo_labels
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.two_networks import TwoNetworks, TwoNetworksOptions
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import NETWORKS, Features
from paucis.options import option

TRANSFORMERS = {2: "swin_unet", 3: "swin_unetr"}
"""The second network where none is named, by the task's dimensions."""


@dataclass(frozen=True)
class CrossTeachingOptions(ConsistencyOptions, TwoNetworksOptions):
    """Options of cross teaching."""

    second: str | None = option(None, "name of the second network; none = swin_unet in 2D, swin_unetr in 3D")


@register("cross_teaching")
class CrossTeaching(TwoNetworks):
    """A CNN and a transformer label unlabeled images for each other, compared by Dice.

    ``L = L_sup(f1) + L_sup(f2) + w(t) * [Dice(p1_u, argmax p2_u) + Dice(p2_u, argmax p1_u)]``; no gradient passes
    through labels. The configured network is the CNN, and the one that is reported.

    Reference:
        X. Luo et al.: Semi-supervised medical image segmentation via cross teaching between CNN and transformer.
        MIDL 2022.

    Deviations:
        published in 2D; the transformer of 3D is this toolkit's choice. Published with ImageNet weights in the
        transformer. The Dice loss has the form of the supervised one (``dice_background``, ``dice_squared``). The ramp
        is a share of the training and rises with every step. Voxels on padding are not counted.
    """

    Options = CrossTeachingOptions

    @classmethod
    def second_network(cls, task: Task, options: TwoNetworksOptions) -> str | None:
        """The transformer."""
        return options.second or TRANSFORMERS[task.ndim]

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Both networks' supervised losses, and each against the other's labels."""
        labeled, unlabeled = parts(batch)
        count, valid = len(labeled.images), valid_unlabeled(batch)
        images = torch.cat([labeled.images, unlabeled])
        one: Features = self.network(images)
        two: Features = self.second(images)
        supervised = supervised_loss(one.logits[:count], labeled, self.options)
        supervised_second = supervised_loss(two.logits[:count], labeled, self.options)
        unlabeled_one, unlabeled_two = one.logits[count:], two.logits[count:]
        cross = self._dice(unlabeled_one, pseudo_labels(unlabeled_two, valid).labels)
        cross = cross + self._dice(unlabeled_two, pseudo_labels(unlabeled_one, valid).labels)
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "supervised_second": supervised_second, "cross": factor * cross},
            {"consistency_weight": factor, "cross_dice": cross.detach()},
            Aligned(first(one, count), labeled.labels),
        )

    @classmethod
    def check(cls, setting: Setting, options: CrossTeachingOptions) -> list[str]:
        """Adds: a second network that does not suit the task, or is the first one once more."""
        problems = super().check(setting, options)
        name = cls.second_network(setting.task, options)
        assert name is not None
        if name == setting.network:
            problems.append(
                f"method '{cls.name}' wants two kinds of networks and both are '{name}': set network or method.second"
            )
        return problems + _unsuitable(name, setting.task)

    def _dice(self, logits: Tensor, labels: Tensor) -> Tensor:
        return dice_loss(
            logits, labels, include_background=self.options.dice_background, squared=self.options.dice_squared
        )


def _unsuitable(name: str, task: Task) -> list[str]:
    """Why the second network cannot take the task's patch; empty when it can."""
    try:
        kind = NETWORKS.get(name)
        with torch.random.fork_rng(devices=[]):  # building one must not move what the run draws
            network: Any = kind(task, kind.Options())
    except PaucisError as error:
        return [f"method.second={name}: {error}"]
    if any(size % divisor for size, divisor in zip(task.patch, network.multiple, strict=True)):
        sizes, multiples = ("x".join(map(str, values)) for values in (task.patch, network.multiple))
        return [
            f"method.second={name} takes patches that are multiples of {multiples} and the plan's is {sizes}: change "
            "data.patch, or method.second"
        ]
    return []
