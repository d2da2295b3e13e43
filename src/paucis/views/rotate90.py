"""Turns by multiples of 90 degrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.views.base import View, choose


class Rotate90Params(NamedTuple):
    """How far each image is turned.

    Attributes:
        turns: (B,) int64, quarter turns, 0 to 3, from the plane's first axis to its second.
    """

    turns: Tensor


class Rotate90(View[Rotate90Params]):
    """Turns each image by 0, 90, 180 or 270 degrees in a plane. Exactly invertible.

    In a plane of unequal sizes a quarter turn swaps them, so that all images of a batch must take it: images are
    turned by 0 or 180 degrees there, unless ``swap`` asks for one number of quarter turns for the whole batch.

    Args:
        plane: the two spatial axes of the plane.
        probability: of drawing a turn; each number of quarter turns (0 included) is then as likely.
        swap: in a plane of unequal sizes, allows quarter turns by swapping them.
    """

    def __init__(self, plane: tuple[int, int] = (-2, -1), probability: float = 1.0, swap: bool = False) -> None:
        self.plane = plane
        self.probability = probability
        self.swap = swap

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> Rotate90Params:
        turns = torch.randint(4, (batch,), generator=generator) * choose(batch, self.probability, generator)
        if spatial[self.plane[0]] != spatial[self.plane[1]]:
            turns = turns[:1].expand(batch).clone() if self.swap else turns // 2 * 2
        return Rotate90Params(turns.to(device))

    def image(self, images: Tensor, params: Rotate90Params) -> Tensor:
        return self._turn(images, params.turns, 2)

    def labels(self, labels: Tensor, params: Rotate90Params, fill: int = IGNORE) -> Tensor:
        return self._turn(labels, params.turns, 1)

    def invert(self, images: Tensor, params: Rotate90Params) -> Tensor:
        return self._turn(images, (4 - params.turns) % 4, 2)

    def size(self, params: Rotate90Params, spatial: Sequence[int]) -> tuple[int, ...]:
        sizes = list(spatial)
        one, two = self.plane
        if sizes[one] != sizes[two] and bool((params.turns % 2).any()):
            sizes[one], sizes[two] = sizes[two], sizes[one]
        return tuple(sizes)

    def _turn(self, tensor: Tensor, turns: Tensor, first: int) -> Tensor:
        ndim = tensor.ndim - first
        dims = [first + axis % ndim for axis in self.plane]
        if tensor.shape[dims[0]] != tensor.shape[dims[1]]:
            quarter = turns % 2
            if bool(quarter.any()):
                if not bool(quarter.all()):
                    raise ValueError("images of one batch cannot be turned to different sizes")
                return self._turn(torch.rot90(tensor, 1, dims), turns - 1, first)
        elif turns.device.type != "cpu" or bool((turns % 2).any()):
            tensor = torch.where(_each(turns % 2 == 1, tensor), torch.rot90(tensor, 1, dims), tensor)
        if turns.device.type != "cpu" or bool((turns >= 2).any()):
            tensor = torch.where(_each(turns >= 2, tensor), tensor.flip(dims), tensor)
        return tensor


def _each(chosen: Tensor, tensor: Tensor) -> Tensor:
    return chosen.to(tensor.device).reshape(-1, *[1] * (tensor.ndim - 1))
