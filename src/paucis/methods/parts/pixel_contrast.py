"""Pixel contrast against a memory: embedding head, anchors, queue and loss as one part of a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.losses.pixel_contrastive import pixel_contrastive
from paucis.losses.precision import no_autocast
from paucis.methods.parts.memory import MemoryQueue
from paucis.methods.parts.pixel_anchors import class_means, coarse_labels, draw_anchors
from paucis.networks.blocks import conv, conv_norm_act, initialize
from paucis.options import option


@dataclass(frozen=True)
class PixelContrastOptions:
    """Anchors, memory and temperature."""

    temperature: float = option(0.07, "of the pixel contrastive loss", minimum=1e-3)
    dim: int = option(256, "length of a pixel's embedding", minimum=1)
    anchors: int = option(8, "anchors of each class in each image", minimum=1)
    borrow: bool = option(True, "a class with too few pixels is made up for by anchors of the others")
    anchor_choice: Literal["random", "easy"] = option(
        "random", "anchors of a class: any of its pixels, or first those that the network predicts so"
    )
    background: bool = option(True, "whether the background is a class of the contrast: has anchors and a memory")
    memory: Literal["means", "anchors"] = option(
        "means", "what is remembered: the mean embedding of each class in each image, or the anchors"
    )
    memory_size: int = option(500, "vectors remembered of each class", minimum=1)


class PixelContrast(nn.Module):
    """Embeds the pixels of an encoder map and compares anchors with the remembered samples of all classes.

    Args:
        ndim: 2 or 3.
        channels: of the encoder map.
        classes: K, background included.
        options: with the fields of ``PixelContrastOptions``.
    """

    def __init__(self, ndim: int, channels: int, classes: int, options: PixelContrastOptions) -> None:
        super().__init__()
        self.classes, self.options = classes, options
        self.head = nn.Sequential(conv_norm_act(ndim, channels, channels, 1), conv(ndim, channels, options.dim, 1))
        initialize(self.head)
        self.queue = MemoryQueue(classes, options.memory_size, options.dim)

    def embed(self, feature: Tensor) -> Tensor:
        """Embeddings of length 1: (B, D, *size) in float32."""
        return F.normalize(self.head(feature).float(), dim=1)

    def forward(self, feature: Tensor, labels: Tensor, predicted: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss of this step's anchors against what was remembered before it.

        Args:
            feature: (B, C, *size), the encoder map.
            labels: (B, *spatial) classes of the images' voxels; ``IGNORE`` where unknown or uncertain.
            predicted: (B, *spatial) classes that the network predicts.

        Returns:
            the loss, what ``remember`` is to be given after the step, and the number of anchors.
        """
        options, size = self.options, feature.shape[2:]
        embeddings = self.embed(feature).flatten(2).transpose(1, 2)  # (B, P, D)
        labels, predicted = (coarse_labels(each, size).flatten(1) for each in (labels, predicted))
        if not options.background:
            labels = labels.masked_fill(labels == 0, IGNORE)
        last = labels != predicted if options.anchor_choice == "easy" else None
        index, kinds = draw_anchors(labels, self.classes, options.anchors, borrow=options.borrow, last=last)
        anchors = embeddings.gather(1, index.unsqueeze(-1).expand(-1, -1, embeddings.shape[-1])).flatten(0, 1)
        loss = pixel_contrastive(anchors, kinds.flatten(), *self.queue.bank(), options.temperature)
        return loss, self._memory(embeddings, labels, anchors, kinds), kinds.ne(IGNORE).sum()

    @torch.no_grad()
    def remember(self, memory: dict[str, Tensor]) -> None:
        """Puts the samples of a step, of all processes, into the queue."""
        self.queue.add(memory["vectors"], memory["labels"])

    @torch.no_grad()
    def _memory(self, embeddings: Tensor, labels: Tensor, anchors: Tensor, kinds: Tensor) -> dict[str, Tensor]:
        if self.options.memory == "anchors":
            return {"vectors": anchors.detach(), "labels": kinds.flatten()}
        with no_autocast(embeddings):
            vectors, present = class_means(embeddings, labels, self.classes)
        return {"vectors": vectors, "labels": present}
