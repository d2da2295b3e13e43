"""A manifest: a CSV or JSON table of images, labels, patients and roles, for data that fits no other layout.

CSV, one case a row; ``image`` is needed, the other columns may be absent or empty::

    image,label,patient,role
    images/21_training.tif,1st_manual/21_manual1.gif,21,train
    images/22_training.tif,,22,train

Several channels stand in several columns (``image_t1,image_t2``) or in one, divided by ``;``. Roles are ``train``,
``val`` and ``test``; ``unlabeled`` is a training case whose label is not to be looked at. ``name`` names a case,
which else goes by its file. Paths are relative to the manifest. JSON: the same as a list of objects, where ``image``
may be a list, or an object of ``cases`` (that list), ``labels`` (class name to value) and ``channel_names``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paucis.data.case import Case, Dataset
from paucis.data.layouts.description import channels_of, classes_of, read_json
from paucis.data.layouts.folders import guess_channels
from paucis.data.layouts.listing import refuse_twice, unique_names
from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.registry import nearest

LAYOUT = "manifest"
SUFFIXES = (".csv", ".tsv", ".json")
_IMAGE = re.compile(r"^images?(?![_ -]?(id|name|type|size|date|spacing|format)$)([_ -]?\w+)?$")
_COLUMNS = {
    "label": ("label", "mask"),
    "patient": ("patient", "group", "subject"),
    "role": ("role",),
    "name": ("name",),
}
_ROLES = {
    "train": "train", "training": "train", "unlabeled": "train", "unlabelled": "train",
    "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip


def find(root: Path) -> Path | None:
    """The manifest of a folder, if it has one."""
    return next((path for ending in SUFFIXES if (path := root / f"manifest{ending}").is_file()), None)


def read(path: Path) -> Dataset:
    """The cases of a manifest, in its order.

    Raises:
        PaucisError: it is broken, has no image column, a row has no image or an unknown role, a name occurs twice.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise PaucisError(f"{path} is no dataset: name its folder, or a manifest ({', '.join(SUFFIXES)})")
    description: Mapping[str, Any] = {}
    if path.suffix.lower() == ".json":
        content = read_json(path)
        description = content if isinstance(content, dict) else {}
        rows = content.get("cases") if isinstance(content, dict) else content
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PaucisError(f'{path} is no manifest: write [{{"image": "a.png", "label": "b.png"}}, ...]')
    else:
        rows = _table(path)
    cases = _cases(path, [{str(key).strip().lower(): value for key, value in row.items()} for row in rows])
    if not cases:
        raise PaucisError(f"{path} lists no case: add a row for each image")
    classes, values = classes_of(description, path)
    return Dataset(path.parent, LAYOUT, cases, channels_of(description) or guess_channels(cases), classes, values)


def _table(path: Path) -> list[dict[str, Any]]:
    text = read_text(path)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    return list(csv.DictReader(text.splitlines(), delimiter=delimiter))


def _cases(path: Path, rows: list[dict[str, Any]]) -> tuple[Case, ...]:
    images = [_images(path, row, number) for number, row in enumerate(rows, 1)]
    given = [_cell(row, "name") for row in rows]
    stems = unique_names([files[0] for files in images], path) if not all(given) else given
    names = [name or stem for name, stem in zip(given, stems, strict=True)]
    refuse_twice(names, path)
    cases = []
    for number, (row, files, name) in enumerate(zip(rows, images, names, strict=True), 1):
        role, label = _cell(row, "role").lower(), _cell(row, "label")
        if role and role not in _ROLES:
            raise PaucisError(
                f"{path}, row {number}: unknown role '{role}'{nearest(role, list(_ROLES))} (train, val, test)"
            )
        hidden = not label or role.startswith("unlabel")
        group = _cell(row, "patient") or name
        cases.append(Case(name, files, None if hidden else path.parent / label, group, _ROLES.get(role)))
    return tuple(cases)


def _images(path: Path, row: Mapping[str, Any], number: int) -> tuple[Path, ...]:
    files: list[str] = []
    for column, value in row.items():
        if _IMAGE.match(column) and value:
            files += value if isinstance(value, list) else str(value).split(";")
    found = tuple(path.parent / file.strip() for file in files if file.strip())
    if not found:
        raise PaucisError(f"{path}, row {number}: no image: fill the column 'image' (found: {', '.join(row)})")
    return found


def _cell(row: Mapping[str, Any], kind: str) -> str:
    names: Iterable[str] = _COLUMNS[kind]
    return next((str(value).strip() for name in names if (value := row.get(name)) not in (None, "")), "")
