"""DenseCL: contrast of whole images, and of the places of their deepest maps that look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.losses.info_nce import info_nce
from paucis.methods.base import Build, Clock, Phase, StepResult, register
from paucis.methods.moco import MoCoOptions, negatives, remember
from paucis.methods.parts.ema import EmaTeacher
from paucis.methods.parts.image_views import EncodedImages, Head, ImageViews
from paucis.methods.parts.memory import MemoryQueue
from paucis.methods.parts.pretraining import Pretraining
from paucis.networks.base import Network
from paucis.networks.blocks import conv
from paucis.options import option


@dataclass(frozen=True)
class DenseCLOptions(MoCoOptions):
    """Options of DenseCL."""

    cells: int = option(7, "places along each axis that the deepest map is pooled to; no more than it has", minimum=1)
    dense: float = option(0.5, "share of the loss on places; the rest is on images", minimum=0.0, maximum=1.0)


class EncodedPlaces(EncodedImages):
    """An encoder with a projection of the image and one of every place of its deepest map.

    Args:
        network: its decoder is frozen.
        dim: length of the vectors, D.
        cells: places along each axis at most.
        head: the projection of the image.
    """

    def __init__(self, network: Network, dim: int, cells: int, head: Head = "mlp") -> None:
        super().__init__(network, dim, head)
        ndim, width = network.task.ndim, self.channels
        self.cells = cells
        self.dense = nn.Sequential(conv(ndim, width, width, 1), nn.ReLU(), conv(ndim, width, dim, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Image vectors (B, D), place vectors (B, S, D), and the encoder's own vectors of the places (B, S, C)."""
        deepest = self.encode(images)
        pool: Any = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[deepest.ndim - 4]
        pooled: Tensor = pool(deepest, [min(size, self.cells) for size in deepest.shape[2:]])
        whole: Tensor = self.project(deepest.flatten(2).mean(2))
        return whole, self.dense(pooled).flatten(2).mT, pooled.flatten(2).mT


@register("densecl")
class DenseCL(Pretraining):
    """MoCo v2 with a second contrast: ``L = (1 - w) L_image + w L_place``, w = 0.5.

    A place of one view has as positive that place of the other view whose encoder vector is most like its own; its
    negatives are a queue of mean place vectors of earlier images. Both queues are the same in every process.

    Reference:
        X. Wang et al.: Dense contrastive learning for self-supervised visual pre-training. CVPR 2021.

    Deviations:
        Those of ``moco``; the deepest map is pooled to no more places than it has.
    """

    Options = DenseCLOptions

    def __init__(self, build: Build, task: Task, options: DenseCLOptions) -> None:
        super().__init__(build, task, options)
        self.encoded = EncodedPlaces(build(), options.dim, options.cells, options.head)
        self.average = EmaTeacher(self.encoded, options.decay, warmup=False, buffers="own")
        self.memory = MemoryQueue(1, options.queue, options.dim)
        self.dense_memory = MemoryQueue(1, options.queue, options.dim)
        self.views = ImageViews(task, options)

    def networks(self) -> tuple[Network, ...]:
        """The network whose encoder is trained."""
        return (self.encoded.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Both contrasts of the unlabeled images."""
        assert batch.unlabeled is not None
        options = self.options
        queries, places, own = self.encoded(self.views(batch.unlabeled))
        keys, their_places, theirs = self.average(self.views(batch.unlabeled))
        partner = correspondence(own.detach(), theirs)
        positives = their_places.gather(1, partner.unsqueeze(2).expand_as(their_places))
        image = info_nce(queries, keys, *negatives(self.memory), options.temperature)
        place = info_nce(
            places.flatten(0, 1), positives.flatten(0, 1), *negatives(self.dense_memory), options.temperature
        )
        return StepResult(
            {"image": (1 - options.dense) * image, "place": options.dense * place},
            {"agreement": torch.cosine_similarity(queries.detach().float(), keys.float()).mean()},
            memory={"keys": keys, "places": F.normalize(their_places.float(), dim=2, eps=1e-6).mean(1)},
        )

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The moving average follows; the keys of this step are the negatives of those to come."""
        self.average.update(self.encoded, clock.step)
        remember(self.memory, result.memory["keys"])
        remember(self.dense_memory, result.memory["places"])


def correspondence(own: Tensor, theirs: Tensor) -> Tensor:
    """For each place of one view, the place of the other whose vector has the largest cosine with it.

    Args:
        own: (B, S, C).
        theirs: (B, T, C).

    Returns:
        (B, S) indices into T.
    """
    a, b = F.normalize(own.float(), dim=2, eps=1e-6), F.normalize(theirs.float(), dim=2, eps=1e-6)
    best: Tensor = (a @ b.mT).argmax(2)
    return best
