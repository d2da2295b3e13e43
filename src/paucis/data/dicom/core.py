"""What all of DICOM's modules need; pydicom is not."""

from __future__ import annotations

from pathlib import Path

from paucis.errors import PaucisError

TOLERANCE = "PAUCIS_SLICE_TOLERANCE"
"""Environment variable: how far in mm a slice may lie from the regular grid. It reaches processes that read, too."""
SUFFIXES = (".dcm", ".dicom", ".ima")


class UnfitSourceError(PaucisError):
    """A series lacks what a segmentation of it must refer to."""


def has_magic(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
