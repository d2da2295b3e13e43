"""SimCLR: two views of an image find each other among all images of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.losses.info_nce import nt_xent
from paucis.methods.base import Build, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.image_views import EncodedImages, Head, ImageViewOptions, ImageViews
from paucis.methods.parts.memory import of_others
from paucis.methods.parts.pretraining import Pretraining
from paucis.networks.base import Network
from paucis.options import option


@dataclass(frozen=True)
class SimCLROptions(ImageViewOptions):
    """Options of SimCLR."""

    dim: int = option(128, "length of an image's vector", minimum=2)
    temperature: float = option(0.1, "of the similarity of images", minimum=1e-3)


@register("simclr")
class SimCLR(Pretraining):
    """Pretraining of the encoder: the normalized cross-entropy of two views' projections, over all images of the batch.

    Negatives are the images of all processes; the decoder stays as it was drawn.

    Reference:
        T. Chen et al.: A simple framework for contrastive learning of visual representations. ICML 2020.

    Deviations:
        Views are turned, scaled and shifted instead of cropped and resized, and change intensities in the terms of
        ``paucis.views``. Negatives of other processes take no gradient. The optimizer is the run's, not LARS.
    """

    Options = SimCLROptions
    head: ClassVar[Head] = "normalized"

    def __init__(self, build: Build, task: Task, options: SimCLROptions) -> None:
        super().__init__(build, task, options)
        self.encoded = EncodedImages(build(), options.dim, self.head)
        self.views = ImageViews(task, options)

    def networks(self) -> tuple[Network, ...]:
        """The network whose encoder is trained."""
        return (self.encoded.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The contrast of the unlabeled images."""
        assert batch.unlabeled is not None
        both: Tensor = self.encoded(torch.cat([self.views(batch.unlabeled), self.views(batch.unlabeled)]))
        first, second = both.chunk(2)
        others = of_others(both.detach(), torch.ones(len(both), dtype=torch.bool, device=both.device))
        alike = torch.cosine_similarity(first.detach().float(), second.detach().float()).mean()
        return StepResult({"contrast": self.contrast(first, second, others)}, {"agreement": alike})

    def contrast(self, first: Tensor, second: Tensor, others: Tensor | None) -> Tensor:
        """The loss of the vectors (N, D) of both views; ``others`` (K, D) are further negatives."""
        return nt_xent(first, second, self.options.temperature, others)

    @classmethod
    def check(cls, setting: Setting, options: SimCLROptions) -> list[str]:
        """Adds: a single image, which has no negatives."""
        return [*super().check(setting, options), *needs_others(cls.name, setting)]


def needs_others(name: str, setting: Setting) -> list[str]:
    """What a contrast of images says of an unlabeled batch of one."""
    if setting.unlabeled_batch_size >= 2:
        return []
    return [
        f"method '{name}' tells the images of a batch apart and a step has 1: set train.unlabeled_batch_size=8 or more"
    ]
