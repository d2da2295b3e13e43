"""Where in a scan the pixels are like given ones: vectors around voxels and maps of their cosines, by windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paucis.batch import Task
from paucis.inference.sliding import ArrayLike, Shape, Windows, starts, triple
from paucis.inference.windows import Autocast
from paucis.losses.directions import unit
from paucis.methods.base import Method
from paucis.networks.window_pooling import weighted_means, window_weights

Allocate = Callable[[tuple[int, ...]], NDArray[np.float32]]
"""Makes the array of a shape that holds the maps; a memory map where they are large."""

_AT_ONCE = 2**20  # voxels, whose vectors of 32 numbers take 128 MiB


@dataclass(frozen=True)
class Pooling:
    """Around a voxel, which others count for its vector, and how much (Eq. 26).

    Attributes:
        window: voxels of the planned grid along (Z, Y, X); 1 along the slices of a 2D plan.
        sigma: width of the Gaussian in halves of the window; None lets all voxels count alike.
    """

    window: Shape
    sigma: float | None


@dataclass(frozen=True)
class _Part:
    """A window, and the voxels that are its own: those nearer to its center than to that of any other.

    Attributes:
        corner: of the window, in the padded image.
        begin, stop: of its own voxels in the image.
    """

    corner: Shape
    begin: Shape
    stop: Shape


class SimilarPlaces:
    """Vectors of a scan's voxels, averaged around each, compared with given ones.

    The scan is cut into windows of the crop's size that overlap by half; every voxel takes its vector from the window
    in whose middle it lies most. A scan compared with its own vector at a voxel is therefore like it by exactly 1
    there. Memory holds the vectors of a few windows. Poolings wider than half a crop are cut off where a window ends.

    Args:
        method: in eval mode, on ``device``; its ``embed`` gives the vectors.
        task: of the method.
        pooling: how they are averaged.
        autocast: makes the context that chooses the network's arithmetic; averages and cosines are float32.
        device: where windows are computed.
        batch: windows at once; None is as many as have a million voxels, at most 16.
    """

    def __init__(
        self,
        method: Method,
        task: Task,
        pooling: Pooling,
        *,
        autocast: Autocast = nullcontext,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        self.method = method
        self.pooling = pooling
        self.autocast = autocast
        self.device = device
        self.patch = triple((*(1,) * (3 - task.ndim), *task.patch))
        self.flat = task.ndim == 2
        self.batch = batch or max(1, min(16, _AT_ONCE // prod(self.patch)))

    def vectors(self, image: ArrayLike, voxels: Sequence[Shape]) -> NDArray[np.float32]:
        """Vectors (N, D) of length 1 at voxels (Z, Y, X) of a prepared image (C, Z, Y, X)."""
        found: dict[int, NDArray[np.float32]] = {}
        wanted = [part for part in self._parts(image) if any(_inside(voxel, part) for voxel in voxels)]
        for part, pooled in self._pooled(image, wanted):
            for number, voxel in enumerate(voxels):
                if _inside(voxel, part):
                    z, y, x = (place - first for place, first in zip(voxel, part.begin, strict=True))
                    found[number] = pooled[:, z, y, x].cpu().numpy()
        return np.stack([found[number] for number in range(len(voxels))])

    def maps(
        self, image: ArrayLike, vectors: NDArray[np.float32], allocate: Allocate | None = None
    ) -> NDArray[np.float32]:
        """Cosines (N, Z, Y, X) of every voxel's vector with each of ``vectors`` (N, D) (Eq. 26, 35)."""
        shape = (len(vectors), *triple(image.shape[1:]))
        similar = allocate(shape) if allocate else np.empty(shape, np.float32)
        goals = unit(torch.from_numpy(np.ascontiguousarray(vectors, np.float32))).to(self.device)
        for part, pooled in self._pooled(image, self._parts(image)):
            own = (slice(None), *(slice(first, last) for first, last in zip(part.begin, part.stop, strict=True)))
            similar[own] = (goals @ pooled.flatten(1)).view(-1, *pooled.shape[1:]).cpu().numpy()
        return similar

    def _parts(self, image: ArrayLike) -> list[_Part]:
        axes = [_shares(size, side) for size, side in zip(triple(image.shape[1:]), self.patch, strict=True)]
        return [_Part(*(triple(values) for values in zip(*chosen, strict=True))) for chosen in product(*axes)]

    def _pooled(self, image: ArrayLike, parts: Sequence[_Part]) -> Iterator[tuple[_Part, Tensor]]:
        """Of each window its own voxels' vectors (D, Z, Y, X) of length 1."""
        size = triple(image.shape[1:])
        before = triple(max(side - length, 0) // 2 for side, length in zip(self.patch, size, strict=True))
        cut = Windows(image, self.patch, before)
        for first in range(0, len(parts), self.batch):
            some = parts[first : first + self.batch]
            windows = torch.from_numpy(np.stack([cut(part.corner) for part in some])).to(self.device)
            with torch.no_grad():
                with self.autocast():
                    maps = self.method.embed(windows.squeeze(2) if self.flat else windows)
                for part, each in zip(some, maps, strict=True):
                    weights = [self._weights(axis, part, before[axis], size[axis], each.device) for axis in range(3)]
                    yield part, unit(weighted_means(each.reshape(1, -1, *self.patch), weights), dim=1)[0]

    def _weights(self, axis: int, part: _Part, before: int, size: int, device: torch.device) -> Tensor:
        """(own voxels, window) along an axis; what pads the image has no weight."""
        begin = part.corner[axis] - before  # of the window, in the image
        shown = slice(max(-begin, 0), min(size - begin, self.patch[axis]))
        places = torch.arange(part.begin[axis], part.stop[axis], device=device) - begin - shown.start + 0.5
        weights = torch.zeros(len(places), self.patch[axis], device=device)
        length = shown.stop - shown.start
        weights[:, shown] = window_weights(length, places, self.pooling.window[axis], self.pooling.sigma)
        return weights


def _shares(size: int, side: int) -> list[tuple[int, int, int]]:
    """Along an axis: a window's first voxel in the padded image, and the range of the image that is its own."""
    padded = max(size, side)
    before = (padded - size) // 2
    first = starts(padded, side, max(side // 2, 1))
    ends = [0, *((one + two + side) // 2 for one, two in pairwise(first)), padded]
    inside = [min(max(end - before, 0), size) for end in ends]
    return [(corner, begin, stop) for corner, (begin, stop) in zip(first, pairwise(inside), strict=True)]


def _inside(voxel: Sequence[int], part: _Part) -> bool:
    return all(first <= place < last for first, place, last in zip(part.begin, voxel, part.stop, strict=True))
