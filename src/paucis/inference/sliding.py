"""Windows over a volume of any length, averaged into slabs: memory holds one window's depth, never the volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Shape = tuple[int, int, int]
Maps = dict[str, Tensor]
WindowPredict = Callable[[Tensor], Maps]
"""Windows (N, C, *patch) to named maps (N, k, *patch); without Z where the patch is one slice."""

SIGMA = 0.125  # of the Gaussian, as a share of the patch (nnU-Net, MONAI)
FLOOR = 1e-3  # smallest weight of a voxel, so that every voxel counts (MONAI)


class ArrayLike(Protocol):
    """What is read of an image: a NumPy array, a memory map, an HDF5 data set, a blosc2 array."""

    @property
    def shape(self) -> Sequence[int]: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class Slab(NamedTuple):
    """A finished range of Z.

    Attributes:
        start: its first slice.
        stop: the slice after its last.
        maps: by name, (k, stop - start, Y, X) float32.
    """

    start: int
    stop: int
    maps: Maps


def slabs(
    image: ArrayLike,
    patch: Sequence[int],
    predict: WindowPredict,
    *,
    overlap: float = 0.5,
    stride: Sequence[int] | None = None,
    weighting: str = "gaussian",
    batch: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Slab]:
    """Predicts a volume window by window and yields its maps range by range along Z.

    Windows start at ``min(i * stride, size - patch)`` along each axis and are processed in the order of their Z; a
    range of Z that no later window touches is divided by its accumulated weight and yielded. An image smaller than
    the patch is padded with zeros on both sides, and its maps are cropped.

    Args:
        image: (C, Z, Y, X); only the Z range of the windows at hand is read, only windows go to the device.
        patch: window size in voxels along (Z, Y, X); Z = 1 for a network that sees slices.
        predict: windows (N, C, Z, Y, X) to maps (N, k, Z, Y, X); (N, C, Y, X) to (N, k, Y, X) where the patch is one
            slice.
        overlap: share of a window that its neighbor covers too; ``stride = patch * (1 - overlap)``.
        stride: fixed strides in voxels, in place of ``overlap``.
        weighting: ``gaussian`` (center voxels count more) or ``uniform``.
        batch: windows at once; None is 16 slices or 2 windows of more.
        device: where windows are predicted and accumulated; the slabs stay there.

    Yields:
        Slabs in order, without gap or overlap, that cover the volume.
    """
    size, patch = triple(image.shape[1:]), triple(patch)
    flat = patch[0] == 1
    batch = batch or (16 if flat else 2)
    padded = triple(max(s, p) for s, p in zip(size, patch, strict=True))
    before = triple((big - small) // 2 for big, small in zip(padded, size, strict=True))
    step = stride or triple(max(int(p * (1 - overlap)), 1) for p in patch)
    corners = list(product(*(starts(*axis) for axis in zip(padded, patch, step, strict=True))))
    cut = Windows(image, patch, before)
    rolling = _Rolling(patch, padded, window_weights(patch, weighting).to(device))
    for first in range(0, len(corners), batch):
        chosen = corners[first : first + batch]
        windows = torch.from_numpy(np.stack([cut(corner) for corner in chosen])).to(device)
        maps = predict(windows.squeeze(2) if flat else windows)
        for index, corner in enumerate(chosen):
            yield from _cropped(rolling.advance(corner[0]), size, before)
            rolling.add({name: values[index].reshape(-1, *patch) for name, values in maps.items()}, corner)
    yield from _cropped(rolling.advance(padded[0]), size, before)


def triple(values: Any) -> Shape:
    """Three whole numbers as a tuple."""
    z, y, x = values
    return int(z), int(y), int(x)


def starts(size: int, patch: int, stride: int) -> list[int]:
    """First voxels of the windows along one axis; the last window ends at the border."""
    count = ceil((size - patch) / stride) + 1
    return [min(index * stride, size - patch) for index in range(count)]


def window_weights(patch: Shape, weighting: str) -> Tensor:
    """Weight (Z, Y, X) of a window's voxels: a Gaussian of an eighth of the patch, at least 0.001, or ones."""
    weights = torch.ones(patch)
    if weighting == "gaussian":
        for axis, length in enumerate(patch):
            distance = torch.arange(length) - (length - 1) / 2
            profile = torch.exp(-0.5 * (distance / (SIGMA * length)) ** 2)
            weights = weights * profile.view([-1 if other == axis else 1 for other in range(3)])
        weights = weights.clamp(min=FLOOR)
    return weights


class Windows:
    """Cuts windows out of an image; holds the Z range of the window cut last, so that each is read once.

    Args:
        image: (C, Z, Y, X).
        patch: size of the windows.
        before: zeros that the image is padded with in front of each axis; corners count from there.
    """

    def __init__(self, image: ArrayLike, patch: Shape, before: Shape) -> None:
        self.image = image
        self.patch = patch
        self.before = before
        self.start: int | None = None
        self.block: NDArray[Any] = np.empty(0)

    def __call__(self, corner: tuple[int, ...]) -> NDArray[np.float32]:
        if self.start != corner[0]:
            z = corner[0] - self.before[0]
            self.block = np.asarray(self.image[:, max(z, 0) : z + self.patch[0]])
            self.start = corner[0]
        window = np.zeros((self.block.shape[0], *self.patch), np.float32)
        target, source = [slice(None)], [slice(None)]
        for axis in range(3):
            at = corner[axis] - self.before[axis] if axis else min(corner[0] - self.before[0], 0)
            skipped = max(-at, 0)
            length = min(self.patch[axis] - skipped, self.block.shape[axis + 1] - max(at, 0))
            target.append(slice(skipped, skipped + length))
            source.append(slice(max(at, 0), max(at, 0) + length))
        window[tuple(target)] = self.block[tuple(source)]
        return window


class _Rolling:
    """Sums of weighted maps over the Z range of one window, which moves forward."""

    def __init__(self, patch: Shape, padded: Shape, weights: Tensor) -> None:
        self.patch = patch
        self.plane = padded[1:]
        self.weights = weights
        self.base = 0
        self.sums: Maps = {}
        self.total = weights.new_zeros(1, patch[0], *self.plane)

    def add(self, maps: Maps, corner: tuple[int, ...]) -> None:
        """Adds one window's maps (k, *patch); its Z is where ``advance`` led."""
        y, x = corner[1:]
        place = (..., slice(y, y + self.patch[1]), slice(x, x + self.patch[2]))
        for name, values in maps.items():
            if name not in self.sums:
                self.sums[name] = self.weights.new_zeros(values.shape[0], self.patch[0], *self.plane)
            self.sums[name][place].addcmul_(values.to(self.weights.dtype), self.weights)
        self.total[place] += self.weights

    def advance(self, z: int) -> Iterator[Slab]:
        """Moves to the windows that start at ``z`` and yields what lies before it."""
        stop = min(z, self.base + self.patch[0])
        count = stop - self.base
        if count == 0:
            return
        yield Slab(self.base, stop, {name: sums[:, :count] / self.total[:, :count] for name, sums in self.sums.items()})
        for sums in (*self.sums.values(), self.total):
            for index in range(self.patch[0] - count):  # slice by slice: no second copy of the sums
                sums[:, index] = sums[:, index + count]
            sums[:, self.patch[0] - count :] = 0
        self.base = z


def _cropped(finished: Iterator[Slab], size: Shape, before: Shape) -> Iterator[Slab]:
    """The slabs without the padding that surrounds the image."""
    (first, top, left), (depth, height, width) = before, size
    for slab in finished:
        start, stop = max(slab.start, first), min(slab.stop, first + depth)
        if start < stop:
            inside = (slice(None), slice(start - slab.start, stop - slab.start))
            window = (*inside, slice(top, top + height), slice(left, left + width))
            yield Slab(start - first, stop - first, {name: values[window] for name, values in slab.maps.items()})
