"""Points that a person gives: on the command line, or in a table with a line for each landmark of each image."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paucis.data import formats
from paucis.data.grid import Point
from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.options import convert
from paucis.registry import nearest

AXES = ("z", "y", "x")
COLUMNS = ("image", "landmark", *AXES)
WRITTEN = (*(f"peak_{axis}" for axis in AXES), "similarity", "confidence", "error", "unit", "share")
"""Columns that ``paucis locate`` writes beside ``COLUMNS``; where its own table is read they are passed over."""


class Given(NamedTuple):
    """A point as it was given.

    Attributes:
        image: what the image is called; None where the table does not say.
        landmark: name.
        place: voxel as stored, counted from 0: (y, x) of a picture, (z, y, x) of a volume.
        where: it was found, for messages.
    """

    image: str | None
    landmark: str
    place: tuple[float, ...]
    where: str


def read_points(words: Sequence[str]) -> list[Given]:
    """Points of ``--point``: ``Y,X`` or ``Z,Y,X``, with or without ``NAME=`` before it, or a CSV file.

    Points without a name are called by their number, from 1.

    Raises:
        PaucisError: none, no numbers, or a table as ``read_table`` refuses it.
    """
    found: list[Given] = []
    for number, word in enumerate(words, 1):
        if word.lower().endswith(".csv"):
            found += read_table(Path(word))
            continue
        name, equals, written = word.rpartition("=")
        place = convert(written, tuple[float, ...], f"--point {name}" if equals else "--point")
        if len(place) not in (2, 3) or (equals and not name.strip()):
            raise PaucisError(f"--point {word}: write Y,X or Z,Y,X, or NAME=Y,X, or name a .csv file")
        found.append(Given(None, name.strip() or str(number), place, f"--point {word}"))
    if not found:
        raise PaucisError("--point is missing: give the landmark's voxel in the support image, such as --point 120,88")
    return found


def read_table(path: Path) -> list[Given]:
    """Points of a CSV file: columns ``landmark``, ``y``, ``x``, of volumes ``z``, and ``image``, a name or file name.

    Raises:
        PaucisError: unreadable, a column that is missing or unknown, a cell that is empty or no number, or no line.
    """
    rows = csv.DictReader(read_text(path).splitlines())
    columns = [str(name).strip().lower() for name in rows.fieldnames or ()]
    for name in columns:
        if name not in (*COLUMNS, *WRITTEN):
            raise PaucisError(
                f"{path}: unknown column '{name}'{nearest(name, list(COLUMNS))} (columns: {', '.join(COLUMNS)})"
            )
    missing = [name for name in ("landmark", "y", "x") if name not in columns]
    if missing:
        raise PaucisError(f"{path}: has no column '{missing[0]}' (columns: {', '.join(COLUMNS)}): add it")
    rows.fieldnames = columns
    found = [_given(row, f"{path}, line {number}", "image" in columns) for number, row in enumerate(rows, 2)]
    if not found:
        raise PaucisError(f"{path}: holds no point: add a line for each landmark of each image")
    return found


def places_in(given: Sequence[Given], case: str, shape: Sequence[int], dims: int) -> dict[str, Point]:
    """The points that are given for an image, by landmark, as (Z, Y, X).

    Args:
        given: all points; those without an image are for every one.
        case: name of the image.
        shape: (Z, Y, X) of its voxels as stored.
        dims: 2 of a picture, 3 of a volume.

    Raises:
        PaucisError: too few or many numbers, a point outside the image, or a landmark twice.
    """
    found: dict[str, Point] = {}
    axes = ",".join(AXES[3 - dims :]).upper()
    for one in given:
        if one.image is not None and not is_called(case, one.image):
            continue
        if len(one.place) != dims:
            raise PaucisError(f"{one.where}: must be {axes} of {case}")
        place = (*(0.0,) * (3 - dims), *one.place)
        if any(not -0.5 <= at < size - 0.5 for at, size in zip(place, shape, strict=True)):
            last = ",".join(str(size - 1) for size in shape[-dims:])
            raise PaucisError(f"{one.where}: lies outside {case}: {axes} run from 0 to {last}")
        if one.landmark in found:
            raise PaucisError(f"{one.where}: landmark '{one.landmark}' is given twice for {case}: keep one of the two")
        found[one.landmark] = (place[0], place[1], place[2])
    return found


def is_called(case: str, image: str) -> bool:
    """Whether a cell names a case: by its name, or by a file's."""
    return case in (image, formats.stem(Path(image)), formats.bare(Path(image)))


def _given(row: Mapping[str | None, str | None], where: str, named: bool) -> Given:
    cells = {str(name): (value or "").strip() for name, value in row.items() if not isinstance(value, list)}
    if None in row or not cells["landmark"] or (named and not cells["image"]):
        empty = next((name for name in ("landmark", "image") if not cells.get(name, "-")), None)
        raise PaucisError(f"{where}: " + (f"'{empty}' is empty" if empty else "has more cells than there are columns"))
    place = [_number(cells[axis], axis, where) for axis in AXES if axis in cells and (axis != "z" or cells[axis])]
    return Given(cells["image"] if named else None, cells["landmark"], tuple(place), where)


def _number(cell: str, axis: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PaucisError(f"{where}: {axis}='{cell}' is no number: write the voxel, counted from 0")
    return value
