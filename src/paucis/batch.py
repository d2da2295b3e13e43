"""What data hands to a method, and what a method may know of its task. Tensors only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

IGNORE = 255
"""Label of a voxel that no loss and no metric counts."""


class Annotated(NamedTuple):
    """Images with their labels.

    Attributes:
        images: (B, C, *spatial) float32.
        labels: (B, *spatial) int64 class indices; ``IGNORE`` where nothing is known.
        weights: (B, *spatial) confidence of a pseudo-label in [0, 1], or None.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None = None


class Batch(NamedTuple):
    """One step's data. Parts a method has no use for are None; unlabeled images carry no label, none was loaded.

    Attributes:
        labeled: annotated crops.
        unlabeled: (B, C, *spatial) crops of unlabeled cases.
        pseudo: crops with pseudo-labels that an earlier stage wrote.
        references: (B, K, *spatial) shape masks from elsewhere.
        valid: (B_unlabeled, *spatial) bool of the *unlabeled* crops; False on padding and outside the field of view
            (in labeled crops such voxels are labeled ``IGNORE`` instead).
        cases: names of the labeled cases, then of the unlabeled ones.
        numbers: (B_unlabeled,) int64, which of all unlabeled images of the run each crop is of: its slice in 2D, its
            case in 3D.
        total: how many unlabeled images there are, so that ``numbers`` run from 0 to ``total - 1``.
    """

    labeled: Annotated | None = None
    unlabeled: Tensor | None = None
    pseudo: Annotated | None = None
    references: Tensor | None = None
    valid: Tensor | None = None
    cases: tuple[str, ...] = ()
    numbers: Tensor | None = None
    total: int = 0

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with ``change`` applied to every tensor in it (moving to a device, for one)."""

        def visit(part: object) -> object:
            if isinstance(part, Tensor):
                return change(part)
            if isinstance(part, Annotated):
                return Annotated(*(visit(tensor) for tensor in part))  # type: ignore[arg-type]
            return part

        return Batch(*(visit(part) for part in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Task:
    """The task as networks and methods see it.

    Attributes:
        ndim: 2 or 3, the spatial dimensions of the network's input.
        channels: image channels.
        classes: number of classes, background (0) included.
        patch: size of a training crop in voxels, ``ndim`` entries.
        spacing: mm per voxel of the planned grid, ``ndim`` entries (1.0 for pictures).
        strides: planned down-sampling factor of each level, fine to coarse, ``ndim`` entries each; a network without
            a planned depth ignores it.
        flips: axes (0 .. ndim-1) along which a mirrored image is still a possible one.
    """

    ndim: int
    channels: int
    classes: int
    patch: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    flips: tuple[int, ...] = ()
