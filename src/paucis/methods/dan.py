"""Deep adversarial network: predictions of unlabeled images should pass as those of labeled ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from paucis.batch import Batch, Task
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register, trainable
from paucis.methods.parts.adversarial import discriminator_phase, fooling_loss, telling_apart_loss
from paucis.methods.parts.modes import evaluating
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen
from paucis.networks.base import Features
from paucis.networks.discriminator import Discriminator
from paucis.options import option


@dataclass(frozen=True)
class DANOptions(ConsistencyOptions):
    """The discriminator; ``consistency`` is the weight of the adversarial loss."""

    discriminator_rate: float = option(1e-4, "learning rate of the discriminator (Adam, constant)", minimum=0.0)
    discriminator_features: int = option(64, "channels of the discriminator's first level", minimum=1)


@register("dan")
class DAN(Method):
    """A network and a discriminator that judges its probabilities beside the image.

    Network: ``L_sup + w(t) * CE(D(p_u, x_u), labeled)``. Discriminator, on probabilities without gradient:
    ``CE(D(p, x), labeled or unlabeled)``.

    Reference:
        Y. Zhang et al.: Deep adversarial networks for biomedical image segmentation utilizing unannotated images.
        MICCAI 2017, in the form of the public segmentation benchmarks (weight 0.1, ``Discriminator``).

    Deviations:
        Those of ``Discriminator``. It judges whole crops, padding included. As in the published code its dropout is
        off while the network learns from it, and it is shown predictions of the network in eval mode.
    """

    Options = DANOptions

    def __init__(self, build: Build, task: Task, options: DANOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.discriminator = Discriminator(task.ndim, task.classes, task.channels, options.discriminator_features)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The network, then the discriminator."""
        return (
            Phase("main", trainable(self.network)),
            discriminator_phase(self.discriminator, self.options.discriminator_rate),
        )

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The network's losses, or the discriminator's."""
        return self._discriminate(batch) if phase.name == "discriminator" else self._segment(batch, clock)

    def _segment(self, batch: Batch, clock: Clock) -> StepResult:
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        adversarial = fooling_loss(self.discriminator, features.logits[count:].float().softmax(1), unlabeled)
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "adversarial": factor * adversarial},
            {"consistency_weight": factor, "adversarial_loss": adversarial.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    def _discriminate(self, batch: Batch) -> StepResult:
        labeled, unlabeled = parts(batch)
        images = torch.cat([labeled.images, unlabeled])
        with torch.no_grad(), evaluating(self.network):
            probabilities = self.network(images).logits.float().softmax(1)
        loss = telling_apart_loss(self.discriminator, probabilities, images, len(labeled.images))
        return StepResult({"discriminator": loss})
