"""h5 files as the semi-supervised literature passes them around: ``image`` and ``label`` in one file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from paucis.data import h5files
from paucis.data.case import Case, Dataset
from paucis.data.layouts.listing import list_scans, unique_names
from paucis.data.layouts.shipped import in_order
from paucis.errors import PaucisError
from paucis.files import read_text

LAYOUT = "h5"
_LISTS = {"train": ("train_slices.list", "train.list"), "val": ("val.list",), "test": ("test.list",)}
_PART = re.compile(r"(_frame\d+)?(_slice_\d+)?$")


def fits(root: Path) -> bool:
    """Whether there is an h5 file in the folder, or below one without scans of its own."""
    return bool(list_scans(root, h5files.SUFFIXES)) or (not list_scans(root) and next(_files(root), None) is not None)


def read(root: Path) -> Dataset:
    """A case for each file, flat or ``CASE/mri_norm2.h5``; slices (``CASE_slice_3.h5``) are stacks of one slice.

    Names up to ``_frameN`` and ``_slice_N`` are taken for patients. Where the literature's lists lie there
    (``train_slices.list`` or ``train.list``, ``val.list``, ``test.list``), they give split and order, and files that
    none of them names are left out: a volume, say, whose slices are listed for training.

    Raises:
        PaucisError: two files of one name, or a list that names a file which is not there.
    """
    files = sorted(_files(root))
    cases = [_case(name, file) for name, file in zip(unique_names(files, root), files, strict=True)]
    cases.sort(key=lambda case: _natural(case.name))
    dataset = Dataset(root, LAYOUT, tuple(cases), ("image",), (), ())
    split = {role: _names(path, cases) for role, path in _lists(root).items()}
    if not split:
        return dataset
    order = [name for names in split.values() for name in names]
    chosen = [case for case in in_order(cases, order) if case.name in set(order)]
    return replace(dataset, cases=tuple(chosen), split=(split,))


def _files(root: Path) -> Iterator[Path]:
    return (file for ending in h5files.SUFFIXES for file in root.rglob(f"[!.]*{ending}"))


def _case(name: str, file: Path) -> Case:
    try:
        labeled = h5files.has_label(file)
    except PaucisError:  # taken for labeled, or a method that needs labels alone would drop it in silence
        labeled = True
    return Case(name, (file,), file if labeled else None, group=_PART.sub("", name))


def _lists(root: Path) -> dict[str, Path]:
    found = {}
    for role, names in _LISTS.items():
        places = (place for name in names for place in (root / name, *sorted(root.glob(f"*/{name}"))))
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            found[role] = path
    return found


def _names(path: Path, cases: list[Case]) -> tuple[str, ...]:
    """The case of each line: its name, its file, or its folder."""
    known = {case.name: case.name for case in cases}
    known |= {case.images[0].parent.name: case.name for case in cases if case.images[0].parent.name == case.name}
    names = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        place = Path(line.removesuffix(".h5"))
        name = known.get(place.name) or known.get(place.parent.name)
        if name is None:
            raise PaucisError(f"{path} names '{line}', of which there is no h5 file: add the file or drop the line")
        names.append(name)
    return tuple(names)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``slice_2`` before ``slice_10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
