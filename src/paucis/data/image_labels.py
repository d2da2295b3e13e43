"""Labels of whole images from a table: one class each, or several that are there or not."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.registry import nearest

_TRUTH = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class ImageLabels:
    """What a table says of images.

    Attributes:
        path: of the table.
        classes: names of the classes, or of the columns where there are several.
        rows: by name of the image: its class as one number, or 0 or 1 for each column.
        several: whether classes do not exclude each other.
    """

    path: Path
    classes: tuple[str, ...]
    rows: dict[str, tuple[int, ...]]
    several: bool

    def problems(self, names: Sequence[str]) -> list[str]:
        """Why the images of these names cannot be told apart by it, one line; empty when they can."""
        missing = [name for name in names if name not in self.rows]
        if len(missing) == len(names):
            return [
                f"{self.path}: its rows, such as '{next(iter(self.rows))}', name none of the {len(names)} images, such "
                f"as '{names[0]}': name another table, or write the images' names in the first column"
            ]
        if missing:
            known = set(names)
            near = nearest(missing[0], [name for name in self.rows if name not in known])  # a row misspelt
            return [
                f"{self.path}: has no row for {len(missing)} of {len(names)} images, such as '{missing[0]}': add them, "
                f"or name another table{near}"
            ]
        if all(
            len({self.rows[name][place] for name in names}) < 2 for place in range(len(next(iter(self.rows.values()))))
        ):
            return [f"{self.path}: all {len(names)} images are of one class: there is nothing to tell apart"]
        return []


def read_image_labels(path: str | Path) -> ImageLabels:
    """Reads a CSV (or TSV) with a head: file names in the first column, classes in the others.

    One further column holds the class of each image, in any words or numbers; several hold 0 or 1 each. A name may
    have its suffix or not.

    Raises:
        PaucisError: it cannot be read, a row has no name or class, a name is there twice, or several columns hold
            something else than 0 and 1.
    """
    path = Path(path).expanduser()
    text = read_text(path)
    table = [
        row for row in csv.reader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ",") if row
    ]
    if len(table) < 2 or len(table[0]) < 2:
        raise PaucisError(f"{path}: is no table of labels: write a head, then a file name and a class in each row")
    head = [cell.strip() for cell in table[0]]
    several, cells = len(head) > 2, {}
    for number, row in enumerate(table[1:], 2):
        name, values = _name(row[0]), [cell.strip() for cell in row[1:]]
        if not name or len(values) != len(head) - 1 or not all(values):
            raise PaucisError(f"{path}, row {number}: needs a file name and {len(head) - 1} further entries")
        if name in cells:
            raise PaucisError(f"{path}, row {number}: '{name}' is there twice: keep one row of it")
        wrong = next((value for value in values if several and value not in _TRUTH), None)
        if wrong is not None:
            raise PaucisError(f"{path}, row {number}: '{wrong}' is neither 0 nor 1, as every column of several must be")
        cells[name] = values
    if several:
        return ImageLabels(path, tuple(head[1:]), {n: tuple(_TRUTH[v] for v in row) for n, row in cells.items()}, True)
    classes = sorted({row[0] for row in cells.values()})
    return ImageLabels(path, tuple(classes), {name: (classes.index(row[0]),) for name, row in cells.items()}, False)


def _name(cell: str) -> str:
    from paucis.data.formats import stem, suffix  # readers of every format stand behind it

    file = Path(cell.strip())
    return stem(file) if suffix(file) else file.name
