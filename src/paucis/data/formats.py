"""Files to arrays and back, whatever their format: the one door to images and masks on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paucis.data.case import Geometry, Volume


def read_image(paths: Sequence[Path]) -> Volume:
    """The image of a case as (C, Z, Y, X), in the file's dtype."""
    raise NotImplementedError


def read_label(path: Path) -> Volume:
    """The mask at ``path`` as (1, Z, Y, X) integers, the raw values of the file."""
    raise NotImplementedError


def read_geometry(path: Path) -> Geometry:
    """Spacing, origin and direction of the file at ``path``, without its voxels where the format allows."""
    raise NotImplementedError


def write_mask(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write raw mask values (Z, Y, X); ``path`` ends as ``mask_suffix(geometry)`` says."""
    raise NotImplementedError


def write_map(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write a float32 map (Z, Y, X); ``path`` ends as ``map_suffix(geometry)`` says."""
    raise NotImplementedError


def mask_suffix(geometry: Geometry) -> str:
    """What a mask of a scan with this geometry ends in: ``.png`` for pictures, else the scan's own suffix."""
    raise NotImplementedError


def map_suffix(geometry: Geometry) -> str:
    """What a float map of a scan with this geometry ends in: ``.tiff`` for pictures, else the scan's own suffix."""
    raise NotImplementedError


def stem(path: Path) -> str:
    """A scan's name: the file name without its suffix (``.nii.gz`` as one) and nnU-Net's ``_0000``."""
    raise NotImplementedError
