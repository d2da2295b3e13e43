"""Reference masks from elsewhere as a prior of shape: read once, drawn in ever other positions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from paucis.batch import Task
from paucis.data.case import Geometry
from paucis.data.formats import read_label
from paucis.data.layouts import scans
from paucis.data.options import DataOptions
from paucis.data.preparation import resample
from paucis.errors import PaucisError

ROOM = 1.25
"""How many times finer than a crop masks are kept: what is cut off still leaves them no coarser."""
TRIES = 4
"""Draws before a mask whose foreground keeps leaving the crop is taken as it is."""
COARSE = 3.0
"""Voxels so many times longer along one axis than along another are not rotated into each other."""


class Shape(NamedTuple):
    """A reference mask.

    Attributes:
        shares: (Y, X) or (Z, Y, X) float32, the share of each voxel that is foreground.
        spacing: of its voxels, relative to each other.
    """

    shares: NDArray[np.float32]
    spacing: tuple[float, ...]


class ShapePrior:
    """Reference masks, of which crops are drawn: mirrored, rotated, cropped, brought to the size of a crop, binarized.

    One affine map takes every voxel of a crop to its place in the mask, so that masks are interpolated once; outside of
    a mask there is background. Masks are squeezed to the aspect of the crop.

    Args:
        shapes: at least one, with as many axes as the crop.
        patch: size of a crop in voxels.
        rotation: largest angle in degrees.
        crop: largest share of an axis that is cut off at each of its ends.
        threshold: share of a voxel from which on it is foreground.
        value: of the foreground in the files.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440, and its code.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        patch: Sequence[int],
        rotation: float = 180.0,
        crop: float = 0.1,
        threshold: float = 0.1,
        value: int = 1,
    ) -> None:
        self.shapes = [Shape(_fine_enough(shape.shares, patch), shape.spacing) for shape in shapes]
        self.patch = tuple(patch)
        self.rotation, self.crop, self.threshold, self.value = rotation, crop, threshold, value

    def __len__(self) -> int:
        return len(self.shapes)

    def draw(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A crop (1, *patch) of 0 and 1 of the mask ``index``; never without foreground."""
        shape = self.shapes[index]
        for _ in range(TRIES):
            drawn = self._look(shape, *self._position(shape, rng))
            if drawn.any():
                return drawn
        return self.whole(index)

    def whole(self, index: int) -> NDArray[np.float32]:
        """The mask ``index`` as it is, (1, *patch)."""
        axes = len(self.patch)
        return self._look(self.shapes[index], np.eye(axes), np.zeros(axes), np.ones(axes))

    def _position(
        self, shape: Shape, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """How a crop lies in its mask: a turn, and where along each axis it begins and ends (shares of the mask)."""
        axes, spacing = len(self.patch), np.asarray(shape.spacing)
        turn = np.diag(rng.choice([-1.0, 1.0], axes))
        for one, two in combinations(range(axes), 2):
            angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
            if max(spacing[one], spacing[two]) <= COARSE * min(spacing[one], spacing[two]):
                plane = np.eye(axes)
                plane[[one, two], [one, two]] = np.cos(angle)
                plane[one, two], plane[two, one] = -np.sin(angle), np.sin(angle)
                turn = plane @ turn
        turn = turn * spacing / spacing[:, None]  # of lengths, not of voxels
        return turn, rng.uniform(0, self.crop, axes), 1 - rng.uniform(0, self.crop, axes)

    def _look(
        self, shape: Shape, turn: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        sizes, patch = np.asarray(shape.shares.shape), np.asarray(self.patch)
        middle = (sizes - 1) / 2
        scale = (
            (high - low) * sizes / patch
        )  # voxel centers: (o + 1/2) / patch of the crop, (q + 1/2) / size of the mask
        begin = low * sizes + scale / 2 - 0.5
        matrix, offset = turn * scale, turn @ (begin - middle) + middle
        looked = affine_transform(shape.shares, matrix, offset, self.patch, np.float32, order=1, mode="grid-constant")
        drawn: NDArray[np.float32] = (looked > self.threshold).astype(np.float32)[None]
        return drawn


def read_shapes(folder: str | Path, task: Task, options: DataOptions) -> ShapePrior:
    """The reference masks of a folder, their foreground being whatever is not 0.

    Of volumes, a 2D task takes every slice with foreground.

    Args:
        folder: of masks, or ``images/`` with masks in it; one file will do.
        task: ndim and patch.
        options: ``data.shape_*``.

    Raises:
        PaucisError: no mask there, one without foreground or without background, one of many values, pictures where
            volumes are needed, or foreground too thin for the crop.
    """
    shapes, values = [], set()
    try:
        for case in scans(Path(folder)):
            found, value = _read(case.images[0], task.ndim)
            shapes += found
            values.add(value)
    except PaucisError as error:  # of a folder of images, say: which folder was meant is not in every message
        raise PaucisError(f"reference masks (--shapes): {error}") from error
    prior = ShapePrior(
        shapes, task.patch, options.shape_rotation, options.shape_crop, options.shape_threshold, max(values)
    )
    for index in range(len(prior)):
        if not prior.whole(index).any():
            raise PaucisError(
                f"{folder}: a reference mask loses all its foreground in a crop of {_by(task.patch)} voxels: lower "
                "data.shape_threshold, or raise data.patch"
            )
    return prior


def _read(path: Path, ndim: int) -> tuple[list[Shape], int]:
    mask, geometry = read_label(path)
    values = np.unique(mask)
    if len(values) > 2 or values[0] < 0:
        raise PaucisError(f"{path} holds {len(values)} values: a reference mask holds 0 and one other, for the shape")
    if values[-1] == 0:
        raise PaucisError(f"{path} holds no foreground: remove this reference mask")
    if len(values) == 1:
        raise PaucisError(f"{path} is foreground everywhere: remove this reference mask")
    inside = (mask[0] > 0).astype(np.float32)
    if ndim == 3 and (geometry.dims == 2 or len(inside) == 1):
        raise PaucisError(f"{path} is a picture, and the images are planned as volumes: give volumes, or data.dims=2")
    if ndim == 3:
        return [Shape(inside, geometry.spacing)], int(values[-1])
    return [Shape(plane, _flat(geometry)) for plane in inside if plane.any()], int(values[-1])


def _flat(geometry: Geometry) -> tuple[float, ...]:
    return geometry.spacing[1:]


def _fine_enough(mask: NDArray[np.float32], patch: Sequence[int]) -> NDArray[np.float32]:
    """The mask with as many voxels as a crop needs, its aspect kept: shrunk once here instead of at every draw."""
    factor = max(ROOM * wanted / size for wanted, size in zip(patch, mask.shape, strict=True))
    if factor >= 1:
        return mask
    size: list[Any] = [max(1, round(length * factor)) for length in mask.shape]
    lead = (1,) * (4 - mask.ndim)
    return resample(mask.reshape(*lead, *mask.shape), (*(1,) * (3 - mask.ndim), *size)).reshape(size)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
