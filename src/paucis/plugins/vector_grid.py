"""A grid of feature vectors, and where in the image their receptive fields lie."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, floor, prod
from typing import NamedTuple

import torch
from torch import Tensor

from paucis.networks.receptive_field import Field


class VectorGrid(NamedTuple):
    """Vectors of a map.

    Attributes:
        places: (N,) in the flattened map.
        centers: (N, ndim) centres of their receptive fields in input voxels; those near the border may lie outside.
    """

    places: Tensor
    centers: Tensor


def vector_grid(sides: Sequence[int], count: int, field: Field) -> VectorGrid:
    """About ``count`` vectors of a map, evenly spread along every axis.

    Args:
        sides: of the map in vectors.
        count: N at most; the grid is the largest of those whose distances are as equal along all axes as whole
            numbers allow.
        field: receptive fields of the map's vectors.
    """
    numbers = grid_counts(sides, count)
    rows = [
        torch.tensor([(2 * place + 1) * side // (2 * number) for place in range(number)])
        for side, number in zip(sides, numbers, strict=True)
    ]
    steps = torch.stack(torch.meshgrid(*rows, indexing="ij"), -1).view(-1, len(rows))
    places = torch.zeros(len(steps), dtype=torch.long)
    for axis, side in enumerate(sides):
        places = places * side + steps[:, axis]
    centers = steps * torch.tensor(field.stride) + torch.tensor(field.offset, dtype=torch.float64)
    return VectorGrid(places, centers)


def grid_counts(sides: Sequence[int], count: int) -> tuple[int, ...]:
    """How many vectors to take along each axis: in proportion to its length, ``count`` in all at most."""
    numbers: dict[int, int] = {}
    while len(numbers) < len(sides):  # an axis too short for a share of its own gets one vector, the others share
        rest = [axis for axis in range(len(sides)) if axis not in numbers]
        share = min((count / prod(sides[axis] for axis in rest)) ** (1 / len(rest)), 1.0)
        short = [axis for axis in rest if sides[axis] * share < 1]
        if short:
            numbers |= dict.fromkeys(short, 1)
            continue
        choices = [(floor(sides[axis] * share + 1e-6), ceil(sides[axis] * share - 1e-6)) for axis in rest]
        fitting = [choice for choice in product(*choices) if prod(choice) <= count]
        numbers |= dict(zip(rest, max(fitting, key=prod), strict=True))
    return tuple(numbers[axis] for axis in range(len(sides)))
