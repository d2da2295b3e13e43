"""The h5 files of the semi-supervised literature: ``image`` and ``label``, a volume or one slice, no geometry."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry, Volume
from paucis.errors import PaucisError

SUFFIXES = (".h5", ".hdf5")


def geometry_of(path: Path) -> Geometry:
    """The files carry no geometry: lengths are voxels, and a 2D slice is a stack of one."""
    return Geometry(physical=False, suffix=path.suffix.lower(), dims=3)


def has_label(path: Path) -> bool:
    """Whether the file holds a ``label``; its voxels are not read."""
    with _opened(path) as file:
        return "label" in file


def read(path: Path, key: str) -> Volume:
    """The array under ``key`` as (1, Z, Y, X), in the axis order of the file.

    Args:
        path: the file.
        key: ``image`` or ``label``; nothing else in the file is read.

    Raises:
        PaucisError: unreadable, the key is missing, or the array is neither 2D nor 3D.
    """
    with _opened(path) as file:
        if key not in file:
            raise PaucisError(f"{path} holds no '{key}' (it has: {', '.join(file) or 'nothing'}): rename its key")
        data = file[key]
        if not isinstance(data, h5py.Dataset) or data.ndim not in (2, 3):
            raise PaucisError(f"{path}: '{key}' is not a 2D or 3D array: save one (Z, Y, X) array per file")
        array: NDArray[Any] = data[()]
    return Volume(array.reshape((1,) * (4 - array.ndim) + array.shape), geometry_of(path))


def write(path: Path, array: NDArray[Any], key: str) -> None:
    """Write (Z, Y, X) under ``key``, gzip-compressed; by way of memory, since HDF5 crashes where a disk is full."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset(key, data=np.asarray(array), compression="gzip")
    path.write_bytes(content.getvalue())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise PaucisError(f"{path} cannot be read ({error}): copy or download it again, or remove it") from error
