"""A network of a few hundred weights, for tests of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.networks.base import Network, Site

TASK = Task(3, 2, 4, (12, 8, 10), (1.0, 1.5, 1.0), flips=(0, 1, 2))


class TinyNetwork(Network):
    """One convolution, batch normalization, one more convolution, a head."""

    name = "tiny"
    Options = dict

    def __init__(self, task: Task = TASK, dropout: float = 0.0) -> None:
        super().__init__(task, {})
        self.sites = {"encoder.0": Site(6, (1,) * task.ndim), "decoder.0": Site(5, (1,) * task.ndim)}
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if task.ndim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.first = nn.Sequential(conv(task.channels, 6, 3, padding=1), norm(6), nn.ReLU(), nn.Dropout(dropout))
        self.second = nn.Sequential(conv(6, 5, 3, padding=1), nn.ReLU())
        self.head = conv(5, task.classes, 1)

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.at("encoder.0", self.first(images)),)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        decoded = self.at("decoder.0", self.second(maps[0]))
        return (decoded,), self.head(decoded)


def tiny(*arguments: Any, **options: Any) -> TinyNetwork:
    """A ``Build``."""
    return TinyNetwork()


def tiny_batch(task: Task = TASK, labeled: int = 2, unlabeled: int = 3, seed: int = 0) -> Batch:
    """Two streams of random crops, with some ignored and some invalid voxels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(labeled + unlabeled, task.channels, *task.patch, generator=generator)
    labels = torch.randint(0, task.classes, (labeled, *task.patch), generator=generator)
    labels[:, :1] = IGNORE
    valid = torch.ones((unlabeled, *task.patch), dtype=torch.bool)
    valid[:, -2:] = False
    return Batch(
        Annotated(images[:labeled], labels),
        images[labeled:],
        valid=valid,
        cases=tuple(f"case{number}" for number in range(labeled + unlabeled)),
    )
