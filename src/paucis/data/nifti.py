"""What the usual NIfTI reader hides: it fills what is missing with zeros, and writes zeros over NaN and infinity."""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.errors import PaucisError

_BLOCK = 1 << 20
_HEADER = 544
_FLOATS = {16: "f4", 64: "f8"}


class _Layout(NamedTuple):
    """Where the voxels lie in the uncompressed file, and their type where that is a float."""

    offset: int
    size: int
    dtype: np.dtype[Any] | None


class Nonfinite(NamedTuple):
    """Voxels that are NaN or infinite: their places in file order, and what stands there."""

    places: NDArray[np.int64]
    values: NDArray[Any]


def inspect(path: Path) -> Nonfinite:
    """Refuse a file that is shorter than its header says or whose compressed stream is damaged; find its NaN.

    Raises:
        PaucisError: the file is truncated, damaged, or no NIfTI file at all.
    """
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            return _scan(path, stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PaucisError(f"{path} is truncated or damaged ({error}): copy or download it again") from error


def _scan(path: Path, stream: BufferedIOBase) -> Nonfinite:
    header = stream.read(_HEADER)
    layout = _layout(header)
    if layout is None:
        raise PaucisError(f"{path} is not a NIfTI file (no NIfTI header): copy it again or remove it")
    places, values = [np.zeros(0, np.int64)], [np.zeros(0, layout.dtype or "f4")]
    found, seen = len(header), 0
    rest = header[layout.offset :]
    stream.read(max(0, layout.offset - _HEADER))
    found = max(found, layout.offset)
    while True:
        if layout.dtype is not None:
            usable = min(len(rest) // layout.dtype.itemsize, layout.size // layout.dtype.itemsize - seen)
            voxels = np.frombuffer(rest, layout.dtype, max(0, usable))
            lost = np.flatnonzero(~np.isfinite(voxels))
            places.append(lost + seen)
            values.append(voxels[lost])
            seen += len(voxels)
            rest = rest[voxels.nbytes :] if usable > 0 else b""
        block = stream.read(_BLOCK)
        if not block:
            break
        found += len(block)
        rest = rest + block if layout.dtype is not None else b""
    if found < layout.offset + layout.size:
        raise PaucisError(
            f"{path} is truncated ({found} of {layout.offset + layout.size} bytes): copy or download it again"
        )
    return Nonfinite(np.concatenate(places), np.concatenate(values))


def _layout(header: bytes) -> _Layout | None:
    """From a NIfTI-1 or NIfTI-2 header of either byte order; None when it is no such header."""
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(f"{order}i", header)[0] == 348:
            dims = struct.unpack_from(f"{order}8h", header, 40)
            kind, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = int(struct.unpack_from(f"{order}f", header, 108)[0])
        elif len(header) >= 540 and struct.unpack_from(f"{order}i", header)[0] == 540:
            dims = struct.unpack_from(f"{order}8q", header, 16)
            kind, bits = struct.unpack_from(f"{order}2h", header, 12)
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
        else:
            continue
        size = prod(max(1, size) for size in dims[1 : 1 + dims[0]]) * bits // 8
        return _Layout(offset, size, np.dtype(order + _FLOATS[kind]) if kind in _FLOATS else None)
    return None
