"""SASSNet: predicted signed distance maps of unlabeled images should pass as those of labeled ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from paucis.batch import Batch, Task
from paucis.losses.signed_distance import distance_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, merge, register, trainable
from paucis.methods.parts.adversarial import discriminator_phase, fooling_loss, telling_apart_loss
from paucis.methods.parts.distance import DistanceHead, DistanceOptions
from paucis.methods.parts.modes import evaluating
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import first, parts, risen
from paucis.networks.base import Features
from paucis.networks.discriminator import Discriminator
from paucis.options import option


@dataclass(frozen=True)
class SASSNetOptions(DistanceOptions):
    """The discriminator; ``consistency`` is the weight of the adversarial loss."""

    consistency: float = option(0.01, "largest weight of the adversarial loss; 0.015 with 8 labeled atria", minimum=0.0)
    discriminator_rate: float = option(1e-4, "learning rate of the discriminator (Adam, constant)", minimum=0.0)
    discriminator_features: int = option(64, "channels of the discriminator's first level", minimum=1)


@register("sassnet")
class SASSNet(Method):
    """A network with a head for signed distance maps, and a discriminator that judges these beside the image.

    Network: ``L_sup + 0.3 * mean (s - s_label)^2 + w(t) * CE(D(s_u, x_u), labeled)``. Discriminator, on maps without
    gradient: ``CE(D(s, x), labeled or unlabeled)``. Distances are 0 on the inner boundary and normalised per crop
    (``paucis.losses.signed_distance``). The segmentation is reported, not the map.

    Reference:
        S. Li, C. Zhang, X. He: Shape-aware semi-supervised 3D semantic segmentation for medical images. MICCAI 2020.

    Deviations:
        One map for every foreground class, and a softmax where the published network has one sigmoid. The map of a
        class that a crop lacks is 1 everywhere; published: 0, which also means boundary (``absent=zero``). Those of
        ``Discriminator``, which judges whole crops, padding included, and is shown maps of the network in eval mode.
    """

    Options = SASSNetOptions

    def __init__(self, build: Build, task: Task, options: SASSNetOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.head = DistanceHead(self.network, task.classes)
        self.discriminator = Discriminator(task.ndim, task.classes - 1, task.channels, options.discriminator_features)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The network with its distance head, then the discriminator."""
        return (
            Phase("main", merge(trainable(self.network), trainable(self.head))),
            discriminator_phase(self.discriminator, self.options.discriminator_rate),
        )

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The network's losses, or the discriminator's."""
        return self._discriminate(batch) if phase.name == "discriminator" else self._segment(batch, clock)

    def _segment(self, batch: Batch, clock: Clock) -> StepResult:
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        maps = self.head(features)
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        distance = distance_loss(maps[:count], labeled.labels, absent=self.options.absent)
        adversarial = fooling_loss(self.discriminator, maps[count:], unlabeled)
        factor = risen(self.options, clock)
        return StepResult(
            {
                "supervised": supervised,
                "distance": self.options.distance * distance,
                "adversarial": factor * adversarial,
            },
            {"consistency_weight": factor, "adversarial_loss": adversarial.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    def _discriminate(self, batch: Batch) -> StepResult:
        labeled, unlabeled = parts(batch)
        images = torch.cat([labeled.images, unlabeled])
        with torch.no_grad(), evaluating(self.network):
            maps = self.head(self.network(images))
        loss = telling_apart_loss(self.discriminator, maps, images, len(labeled.images))
        return StepResult({"discriminator": loss})
