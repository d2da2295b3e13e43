"""A prepared case on disk, of which crops are read without decompressing the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import blosc2
import numpy as np
from numpy.typing import NDArray

from paucis.data.grid import Shape, Trace
from paucis.errors import PaucisError

CHUNK = {2: (1, 512, 512), 3: (64, 64, 64)}
BLOCK = {2: (1, 256, 256), 3: (32, 32, 32)}
"""What is read and decompressed at once. Measured on an LA volume (183 x 140 x 88): a crop of 112 x 112 x 80 takes
5 ms, with chunks of 32 or 56 or blocks of 16 as long or longer; Zstandard at level 1 writes as small as level 5, five
times as fast, and a third smaller than LZ4."""


class Crop(NamedTuple):
    """A piece of a case: ``image`` (C, *size) float32, ``label`` (*size) uint8 class indices or None."""

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None


@dataclass
class CachedCase:
    """A prepared case; opened on first use, in each process anew.

    Attributes:
        name: of the case.
        trace: how its arrays came to be.
        image_path: (C, Z, Y, X) float32.
        label_path: (Z, Y, X) uint8 class indices; None where the case has no label or none may be seen.
        positions_path: (n, 4) int32 rows (class, z, y, x), sorted by class.
        field_path: (Z, Y, X) field of view, 0 or 1; None where it is the whole image.
    """

    name: str
    trace: Trace
    image_path: Path
    label_path: Path | None = None
    positions_path: Path | None = None
    field_path: Path | None = None
    _open: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shape(self) -> Shape:
        """(Z, Y, X) of the prepared arrays."""
        return self.trace.prepared

    @property
    def image(self) -> Any:
        """The image, (C, Z, Y, X) float32: an open ``blosc2.NDArray``; slicing it reads that part as a NumPy array."""
        return self._array("image", self.image_path)

    @property
    def label(self) -> Any | None:
        """The label, (Z, Y, X) uint8 class indices, open likewise; or None."""
        return None if self.label_path is None else self._array("label", self.label_path)

    @property
    def field(self) -> Any | None:
        """The field of view, (Z, Y, X) uint8 of 0 and 1, open likewise; None where it is the whole image."""
        return None if self.field_path is None else self._array("field", self.field_path)

    @property
    def positions(self) -> NDArray[np.int32] | None:
        """Up to ``SAMPLES`` voxels per class but the background: rows (class, z, y, x), sorted by class; or None."""
        if self.positions_path is None:
            return None
        if "positions" not in self._open:
            try:
                self._open["positions"] = np.load(self.positions_path, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise _broken(self.name, self.positions_path, error) from error
        rows: NDArray[np.int32] = self._open["positions"]
        return rows

    def crop(self, start: Sequence[int], size: Sequence[int]) -> Crop:
        """Image and label of ``size`` voxels from voxel ``start`` on, both (Z, Y, X) and within the case."""
        z, y, x = (slice(first, first + length) for first, length in zip(start, size, strict=True))
        label = self.label
        return Crop(self.image[:, z, y, x], None if label is None else label[z, y, x])

    def _array(self, kind: str, path: Path) -> Any:
        if kind not in self._open:
            try:
                self._open[kind] = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
            except Exception as error:
                raise _broken(self.name, path, error) from error
        return self._open[kind]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def compress(array: NDArray[Any], ndim: int) -> bytes:
    """A (..., Z, Y, X) array as the bytes of a blosc2 file whose crops (slices in 2D) are cheap to read."""
    lead = (1,) * (array.ndim - 3)
    chunks = tuple(min(size, most) for size, most in zip(array.shape, lead + CHUNK[ndim], strict=True))
    blocks = tuple(min(size, most) for size, most in zip(chunks, lead + BLOCK[ndim], strict=True))
    settings = {
        "codec": blosc2.Codec.ZSTD,
        "clevel": 1,
        "nthreads": 1,
        "filters": [blosc2.Filter.SHUFFLE],
        "filters_meta": [0],
    }
    packed: bytes = blosc2.asarray(
        np.ascontiguousarray(array), chunks=chunks, blocks=blocks, cparams=settings
    ).to_cframe()
    return packed


def _broken(name: str, path: Path, error: Exception) -> PaucisError:
    return PaucisError(
        f"case '{name}': the prepared file {path} cannot be read ({error}): delete it, the next run makes it anew"
    )
