"""MoCo, versions 1 and 2: a view of an image finds another, seen by a moving average, among those of earlier images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Batch, Task
from paucis.losses.info_nce import info_nce
from paucis.methods.base import Build, Clock, Phase, StepResult, register
from paucis.methods.parts.ema import EmaTeacher
from paucis.methods.parts.image_views import EncodedImages, ImageViewOptions, ImageViews
from paucis.methods.parts.memory import MemoryQueue
from paucis.methods.parts.pretraining import Pretraining
from paucis.networks.base import Network
from paucis.options import option


@dataclass(frozen=True)
class MoCoOptions(ImageViewOptions):
    """Options of MoCo; defaults of version 2."""

    dim: int = option(128, "length of an image's vector", minimum=2)
    temperature: float = option(0.2, "of the similarity of images", minimum=1e-3)
    queue: int = option(4096, "vectors of earlier images that are kept as negatives", minimum=1)
    head: Literal["mlp", "linear"] = option(
        "mlp", "projection of an image: two layers as in version 2, or one as in version 1"
    )
    decay: float = option(0.99, "share of the moving average kept in a step", minimum=0.0, maximum=1.0)


@register("moco")
class MoCo(Pretraining):
    """Pretraining of the encoder: InfoNCE against a queue of the keys of earlier steps, made by a moving average.

    The queue is the same in every process and holds the keys of all; the decoder stays as it was drawn. Version 1 is
    ``head=linear``, ``temperature=0.07`` and ``blur=0``.

    Reference:
        K. He et al.: Momentum contrast for unsupervised visual representation learning. CVPR 2020; X. Chen et al.:
        Improved baselines with momentum contrastive learning. arXiv:2003.04297.

    Deviations:
        Views are turned, scaled and shifted instead of cropped and resized. Queue and decay (4096, 0.99) suit
        thousands of images and steps; the paper has 65536 and 0.999. Batches are not shuffled across processes: each
        process's normalization sees its own images. Until the queue holds a vector there is nothing to tell apart.
    """

    Options = MoCoOptions

    def __init__(self, build: Build, task: Task, options: MoCoOptions) -> None:
        super().__init__(build, task, options)
        self.encoded = EncodedImages(build(), options.dim, options.head)
        self.average = EmaTeacher(self.encoded, options.decay, warmup=False, buffers="own")
        self.memory = MemoryQueue(1, options.queue, options.dim)
        self.views = ImageViews(task, options)

    def networks(self) -> tuple[Network, ...]:
        """The network whose encoder is trained."""
        return (self.encoded.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The contrast of the unlabeled images with the queue."""
        assert batch.unlabeled is not None
        queries: Tensor = self.encoded(self.views(batch.unlabeled))
        keys: Tensor = self.average(self.views(batch.unlabeled))
        return StepResult(
            {"contrast": info_nce(queries, keys, *negatives(self.memory), self.options.temperature)},
            {"agreement": torch.cosine_similarity(queries.detach().float(), keys.float()).mean()},
            memory={"keys": keys},
        )

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The moving average follows; the keys of this step are the negatives of those to come."""
        self.average.update(self.encoded, clock.step)
        remember(self.memory, result.memory["keys"])


def negatives(memory: MemoryQueue) -> tuple[Tensor, Tensor]:
    """The vectors (K, D) of a queue, and which of its places (K,) hold one."""
    bank, labels = memory.bank()
    return bank, labels.ne(IGNORE)


def remember(memory: MemoryQueue, keys: Tensor) -> None:
    """Puts vectors (N, D), brought to length 1, into a queue of one class."""
    vectors = torch.nn.functional.normalize(keys.float(), dim=1, eps=1e-6)
    memory.add(vectors, torch.zeros(len(vectors), dtype=torch.long, device=vectors.device))
