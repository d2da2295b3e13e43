"""RotOri: how an image was turned is told from its features, and which image it is whatever its turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.losses.joint_discrimination import joint_discrimination
from paucis.methods.base import Build, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.image_views import EncodedImages, ImageViews, deepest
from paucis.methods.parts.memory import of_others
from paucis.methods.parts.pretraining import Pretraining
from paucis.methods.parts.turning import Turning, TurnOptions, problems
from paucis.methods.simclr import SimCLROptions, needs_others
from paucis.networks.base import Network
from paucis.options import option


@dataclass(frozen=True)
class RotOriOptions(TurnOptions, SimCLROptions):
    """Options of RotOri; defaults of the published code."""

    rotations: Literal["one", "all"] = option(
        "all", "turns of each view in a step: every one, as published, or one drawn at random"
    )
    turning: float = option(1.0, "weight of telling the turn", minimum=0.0)


@register("rot_ori")
class RotOri(Pretraining):
    """Pretraining of the encoder on turned images: which turn, and the joint probability of which image.

    Two views of each image are turned by every right angle of a plane. ``L = L_instance + L_turn``: the turn is told
    by cross-entropy; a copy finds the copies of the other view among those of all images, for each angle between
    the two. Negatives are the images of all processes; the decoder stays as it was drawn.

    Reference:
        X. Li et al.: Rotation-oriented collaborative self-supervised learning for retinal disease diagnosis. IEEE
        TMI 2021.

    Deviations:
        A copy is no negative of another copy of its image; in the published code it is one wherever it is not the
        positive. Dropout 0.2 before the turn is told. Views are those of ``simclr``; copies of an image whose sides
        differ are its middle.
    """

    Options = RotOriOptions

    def __init__(self, build: Build, task: Task, options: RotOriOptions) -> None:
        super().__init__(build, task, options)
        network = build()
        self.encoded = EncodedImages(network, options.dim, "linear")
        self.turning = Turning(task, network.sites[deepest(network)], network.multiple, options)
        self.views = ImageViews(task, options)

    def networks(self) -> tuple[Network, ...]:
        """The network whose encoder is trained."""
        return (self.encoded.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Both losses of the unlabeled images."""
        assert batch.unlabeled is not None
        options, count = self.options, len(batch.unlabeled)
        views = [self.turning.copies(self.views(batch.unlabeled)) for _ in range(2)]
        feature = self.encoded.encode(torch.cat([copies for copies, _ in views]))
        rows: Tensor = self.encoded.project(feature.flatten(2).mean(2))
        turn = self.turning(feature, torch.cat([turns for _, turns in views]))
        return StepResult(
            {"instance": discriminate_copies(rows, count, options.temperature), "turn": options.turning * turn}
        )

    @classmethod
    def check(cls, setting: Setting, options: RotOriOptions) -> list[str]:
        """Adds: a single image, which has no negatives, and turns that cannot be."""
        found = [*super().check(setting, options), *needs_others(cls.name, setting)]
        return [*found, *problems(setting.task, options)]


def discriminate_copies(rows: Tensor, count: int, temperature: float) -> Tensor:
    """Each copy of an image finds those of the other view, for each angle between them: the mean over the angles.

    Args:
        rows: (2 * R * N, D) vectors: of the first view all images in turn 0, all in turn 1 ...; then of the second.
        count: images, N.
        temperature: T > 0.

    Returns:
        a scalar in float32; 0 where there is one image.
    """
    total = len(rows)
    turns = total // (2 * count)
    places = torch.arange(total, device=rows.device).view(2, turns, count)
    image = torch.arange(total, device=rows.device) % count
    others = of_others(rows.detach(), torch.ones(total, dtype=torch.bool, device=rows.device))
    losses = []
    for angle in range(turns):
        partner = places.flip(0).roll(-angle, 1).flatten()  # of the other view, turned further by the angle
        keys, exclude = rows[partner].detach(), image.unsqueeze(1) == image[partner]
        if others is not None:
            keys = torch.cat([keys, others])
            exclude = torch.cat([exclude, exclude.new_zeros(total, len(others))], 1)
        losses.append(joint_discrimination(rows, keys, temperature, exclude))
    return torch.stack(losses).mean()
