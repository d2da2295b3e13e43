"""Paths that stand for DICOM scans and masks: a file, a folder, ``FOLDER#UID``, ``FILE#1=2,2=1``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from paucis.data.dicom.core import SUFFIXES, has_magic

_SERIES = re.compile(r"^(.+)#([0-2](?:\.\d+)+)$")
_VALUES = re.compile(r"^(.+)#(\d+=\d+(?:,\d+=\d+)*)$")


def fits(path: Path) -> bool:
    """Whether a path is for this package: an address, a folder, or a file that begins as DICOM files do."""
    return is_address(path) or path.suffix.lower() in SUFFIXES or has_magic(path)


def is_address(path: Path) -> bool:
    """Whether a path is one of this package's and may be no file: a folder, a series of one, or renumbered segments."""
    return path.is_dir() or _match(_SERIES, path) is not None or _match(_VALUES, path) is not None


def series_of(path: Path) -> tuple[Path, str | None]:
    """Folder and Series Instance UID of an address; the path itself and None where it names no series."""
    match = _match(_SERIES, path)
    return (Path(match[1]), match[2]) if match else (path, None)


def renumbered(path: Path) -> tuple[Path, dict[int, int] | None]:
    """The file of a segmentation, and what its segment numbers become; None where they stay."""
    match = _match(_VALUES, path)
    if not match:
        return path, None
    return Path(match[1]), {int(a): int(b) for a, b in (pair.split("=") for pair in match[2].split(","))}


def renumber(path: Path, values: Mapping[int, int]) -> Path:
    """The address of a segmentation whose segment numbers become other values; the path itself where none changes."""
    changed = {number: value for number, value in values.items() if number != value}
    return Path(f"{path}#{','.join(f'{a}={b}' for a, b in sorted(values.items()))}") if changed else path


def fragment(path: Path) -> str:
    """What an address adds to the files that it stands for, where that changes what is read of them."""
    match = _match(_VALUES, path)
    return match[2] if match else ""


def _match(pattern: re.Pattern[str], path: Path) -> re.Match[str] | None:
    """The parts of an address; None for what is the plain name of something."""
    return pattern.match(str(path)) if "#" in path.name and not path.exists() else None
