"""Mirror images along chosen axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.views.base import View


class FlipParams(NamedTuple):
    """What is mirrored.

    Attributes:
        mirrored: (B, ndim) bool, the axes along which each image is mirrored.
    """

    mirrored: Tensor


class Flip(View[FlipParams]):
    """Mirrors each image along some of the given axes. Exactly invertible: it is its own inverse.

    Args:
        axes: spatial axes (0 .. ndim-1) along which a mirrored image is still a possible one.
        probability: of mirroring, for each image and axis on its own.
    """

    def __init__(self, axes: Sequence[int], probability: float = 0.5) -> None:
        self.axes = tuple(axes)
        self.probability = probability

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> FlipParams:
        drawn = torch.rand((batch, len(spatial)), generator=generator) < self.probability
        allowed = torch.tensor([axis in self.axes for axis in range(len(spatial))])
        return FlipParams((drawn & allowed).to(device))

    def image(self, images: Tensor, params: FlipParams) -> Tensor:
        return _mirror(images, params.mirrored, 2)

    def labels(self, labels: Tensor, params: FlipParams, fill: int = IGNORE) -> Tensor:
        return _mirror(labels, params.mirrored, 1)

    def invert(self, images: Tensor, params: FlipParams) -> Tensor:
        return self.image(images, params)


def _mirror(tensor: Tensor, mirrored: Tensor, first: int) -> Tensor:
    for axis in range(mirrored.shape[1]):
        chosen = mirrored[:, axis]
        if chosen.device.type != "cpu" or bool(chosen.any()):
            which = chosen.to(tensor.device).reshape(-1, *[1] * (tensor.ndim - 1))
            tensor = torch.where(which, tensor.flip(first + axis), tensor)
    return tensor
