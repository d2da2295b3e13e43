"""Turns by right angles as a set of classes: the four of a plane, or all 24 of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import NamedTuple

import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.views.base import View


class Turn(NamedTuple):
    """One turn: axes in a new order, then some of them mirrored.

    Attributes:
        order: for each spatial axis of the result, the axis of the image that it shows.
        mirrored: spatial axes of the result that run backwards.
    """

    order: tuple[int, ...]
    mirrored: tuple[int, ...]


class OrientationParams(NamedTuple):
    """How each image is turned.

    Attributes:
        turns: (B,) int64, index into ``Orientations.turns``; on the CPU.
    """

    turns: Tensor


class Orientations(View[OrientationParams]):
    """Turns each image by one of a fixed set of right-angled turns. Exactly invertible; no mirror images.

    Turn 0 leaves the image as it is; in a plane turn k is ``torch.rot90`` by k. Images whose sides differ are turned
    only in ways that keep their size, unless all of a batch are turned alike.

    Args:
        ndim: 2 or 3.
        plane: the two spatial axes of the plane; None for every turn of space (4 in 2D, 24 in 3D).
    """

    def __init__(self, ndim: int, plane: tuple[int, int] | None = (-2, -1)) -> None:
        self.plane = (0, 1) if plane is None and ndim == 2 else plane
        self.turns = _all_turns(ndim) if self.plane is None else _plane_turns(ndim, self.plane)
        self.axes = tuple(range(ndim)) if self.plane is None else tuple(sorted(axis % ndim for axis in self.plane))

    def __len__(self) -> int:
        return len(self.turns)

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> OrientationParams:
        keep = [k for k, turn in enumerate(self.turns) if [spatial[axis] for axis in turn.order] == list(spatial)]
        drawn = torch.randint(len(keep), (batch,), generator=generator)
        return OrientationParams(torch.tensor(keep)[drawn].to(device))

    def image(self, images: Tensor, params: OrientationParams) -> Tensor:
        return self._each(images, params.turns, 2, inverse=False)

    def labels(self, labels: Tensor, params: OrientationParams, fill: int = IGNORE) -> Tensor:
        return self._each(labels, params.turns, 1, inverse=False)

    def invert(self, images: Tensor, params: OrientationParams) -> Tensor:
        return self._each(images, params.turns, 2, inverse=True)

    def size(self, params: OrientationParams, spatial: Sequence[int]) -> tuple[int, ...]:
        return tuple(spatial[axis] for axis in self.turns[int(params.turns[0])].order)

    def _each(self, tensor: Tensor, turns: Tensor, first: int, inverse: bool) -> Tensor:
        move = _undo if inverse else _turn
        chosen = turns.tolist()
        if len(set(chosen)) == 1:
            return move(tensor, self.turns[chosen[0]], first)
        turned = torch.empty_like(tensor)  # keeps the order in memory
        for index, number in enumerate(chosen):
            one = move(tensor[index : index + 1], self.turns[number], first)
            if one.shape[1:] != tensor.shape[1:]:
                raise ValueError("images of one batch cannot be turned to different sizes")
            turned[index : index + 1] = one
        return turned


def _turn(tensor: Tensor, turn: Turn, first: int) -> Tensor:
    order = [*range(first), *(first + axis for axis in turn.order)]
    return tensor.permute(order).flip([first + axis for axis in turn.mirrored])


def _undo(tensor: Tensor, turn: Turn, first: int) -> Tensor:
    back = [first + turn.order.index(axis) for axis in range(len(turn.order))]
    return tensor.flip([first + axis for axis in turn.mirrored]).permute([*range(first), *back])


def _plane_turns(ndim: int, plane: tuple[int, int]) -> tuple[Turn, ...]:
    one, two = (axis % ndim for axis in plane)
    same = tuple(range(ndim))
    swapped = tuple({one: two, two: one}.get(axis, axis) for axis in same)
    return Turn(same, ()), Turn(swapped, (one,)), Turn(same, (one, two)), Turn(swapped, (two,))


def _all_turns(ndim: int) -> tuple[Turn, ...]:
    turns = []
    for order in permutations(range(ndim)):
        swaps = sum(a > b for place, a in enumerate(order) for b in order[place + 1 :])
        for signs in product((False, True), repeat=ndim):
            if (swaps + sum(signs)) % 2 == 0:  # determinant 1: a turn, not a mirror image
                turns.append(Turn(order, tuple(axis for axis in range(ndim) if signs[axis])))
    return tuple(turns)
