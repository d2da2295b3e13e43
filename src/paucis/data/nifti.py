"""Is a NIfTI file whole? Its usual reader fills what is missing with zeros and says nothing."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

from paucis.errors import PaucisError

_BLOCK = 1 << 20


def require_whole(path: Path) -> None:
    """Refuse a NIfTI file that is shorter than its header says, or whose compressed stream is damaged.

    Raises:
        PaucisError: the file is truncated, damaged, or no NIfTI file at all.
    """
    found, header = 0, b""
    try:
        for block in _blocks(path):
            header += block[: max(0, 544 - len(header))]
            found += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PaucisError(f"{path} is truncated or damaged ({error}): copy or download it again") from error
    expected = _expected_bytes(header)
    if expected is None:
        raise PaucisError(f"{path} is not a NIfTI file (no NIfTI header): copy it again or remove it")
    if found < expected:
        raise PaucisError(f"{path} is truncated ({found} of {expected} bytes): copy or download it again")


def _blocks(path: Path) -> Iterator[bytes]:
    """The uncompressed bytes of a file, block by block."""
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block


def _expected_bytes(header: bytes) -> int | None:
    """Size of an uncompressed NIfTI-1 or NIfTI-2 file as its header tells it; None when it is no such header."""
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(f"{order}i", header)[0] == 348:
            dims = struct.unpack_from(f"{order}8h", header, 40)
            bits = struct.unpack_from(f"{order}h", header, 72)[0]
            offset = int(struct.unpack_from(f"{order}f", header, 108)[0])
        elif len(header) >= 540 and struct.unpack_from(f"{order}i", header)[0] == 540:
            dims = struct.unpack_from(f"{order}8q", header, 16)
            bits = struct.unpack_from(f"{order}h", header, 14)[0]
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
        else:
            continue
        return offset + prod(max(1, size) for size in dims[1 : 1 + dims[0]]) * bits // 8
    return None
