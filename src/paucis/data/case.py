"""What a dataset is made of: cases, classes, and the geometry of a scan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an array (Z, Y, X) lie.

    Attributes:
        spacing: mm per voxel along (Z, Y, X); 1.0 each for pictures.
        origin: position of voxel (0, 0, 0) in mm, (x, y, z), LPS as SimpleITK has it.
        direction: 3x3 direction cosines, row by row, as SimpleITK has it (columns are the x, y, z axes of the array).
        physical: False for pictures and files that carry no geometry: lengths are pixels then, not mm.
        suffix: of the file it was read from, such as ``.nii.gz``: what a mask of it is written as.
        dims: 2 for a picture (Z is 1 then), 3 for a volume.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    physical: bool = True
    suffix: str = ".nii.gz"
    dims: int = 3


class Volume(NamedTuple):
    """An image in memory: ``array`` (C, Z, Y, X), Z = 1 for pictures, and its geometry."""

    array: NDArray[np.generic]
    geometry: Geometry


class Grid(NamedTuple):
    """Where the voxels of an image lie, without the image: ``shape`` (Z, Y, X) and its geometry."""

    shape: tuple[int, ...]
    geometry: Geometry


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        name: unique in its dataset; the stem of its mask when predicted.
        images: one file per channel, or one file that holds all channels; of DICOM a folder, file or address
            (``paucis.data.dicom``).
        label: its mask, or None when it has none (or when its role forbids to look at it).
        group: the patient; cases of one group share a role. The case's own name where nothing is known.
        role: ``train``, ``val``, ``test`` where the layout fixes it, else None.
        field: mask of its field of view, or None (``paucis.data.field``).
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    group: str = ""
    role: str | None = None
    field: Path | None = None

    def unlabeled(self) -> Case:
        """The case without its label: nothing downstream can open it."""
        return replace(self, label=None)


@dataclass(frozen=True)
class Dataset:
    """A folder of scans as its layout tells it.

    Attributes:
        root: the folder.
        layout: name of the layout that recognised it.
        cases: in list order (the order the layout's list gives, else sorted by name).
        channels: name of each channel (``MRI``, ``CT``, ``red`` ...).
        classes: class names, index 0 is the background.
        values: raw mask value of each class index (``(0, 255)`` for 0/255 masks).
        split: role lists by name that the layout ships, fold by fold; empty when it ships none.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[int, ...]
    split: tuple[dict[str, tuple[str, ...]], ...] = field(default=())
