"""nnU-Net v2 raw data: ``imagesTr/CASE_0000.ext``, ``labelsTr/CASE.ext``, a ``dataset.json`` that describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paucis.data import formats
from paucis.data.case import Case, Dataset
from paucis.data.layouts.description import DESCRIPTION, channels_of, classes_of, read_description
from paucis.data.layouts.listing import list_scans, refuse_twice, to_cases
from paucis.errors import PaucisError

LAYOUT = "nnunet"
_CHANNEL = re.compile(r"^(.+)_\d{4}$")


def fits(root: Path, description: Mapping[str, Any]) -> bool:
    """Whether the folder is one: ``imagesTr/`` (or a list of files) and a description of its labels."""
    return "labels" in description and ((root / "imagesTr").is_dir() or "dataset" in description)


def read(root: Path) -> Dataset:
    """Cases of ``imagesTr/``, unlabeled where ``labelsTr/`` has no mask of the name; then those of ``imagesTs/``.

    A case of ``imagesTs/`` has the role ``test`` where ``labelsTs/`` has its mask, else it joins the unlabeled pool.

    Raises:
        PaucisError: a broken description or two cases of one name.
    """
    description = read_description(root)
    classes, values = classes_of(description, root / DESCRIPTION)
    ending = str(description.get("file_ending", "")).lower()
    suffixes = (ending,) if ending in formats.SUFFIXES else formats.SUFFIXES
    if isinstance(description.get("dataset"), dict):
        cases = _listed(root, description["dataset"])
    else:
        cases = _cases(root, "Tr", suffixes)
    cases += [replace(case, role="test" if case.label else None) for case in _cases(root, "Ts", suffixes)]
    refuse_twice((case.name for case in cases), root)
    return Dataset(root, LAYOUT, tuple(cases), channels_of(description) or ("image",), classes, values)


def _cases(root: Path, part: str, suffixes: tuple[str, ...]) -> list[Case]:
    groups: dict[str, list[Path]] = {}
    for file in list_scans(root / f"images{part}", suffixes):
        match = _CHANNEL.match(formats.bare(file))
        groups.setdefault(match[1] if match else formats.bare(file), []).append(file)
    labels = {formats.bare(file): file for file in list_scans(root / f"labels{part}", suffixes)}
    return to_cases({name: tuple(sorted(files)) for name, files in groups.items()}, labels)


def _listed(root: Path, entries: Mapping[str, Any]) -> list[Case]:
    """The optional ``dataset`` key: case name to its image files and label file."""
    cases = []
    for name, entry in entries.items():
        images = entry.get("images") if isinstance(entry, dict) else None
        label = entry.get("label") or None if isinstance(entry, dict) else None
        if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
            raise PaucisError(f"{root / DESCRIPTION}: case '{name}' of 'dataset' lists no images: mend or remove it")
        if not isinstance(label, str | None):
            raise PaucisError(f"{root / DESCRIPTION}: case '{name}' of 'dataset': 'label' names no file: mend it")
        cases.append(Case(name, tuple(root / image for image in images), root / label if label else None, group=name))
    return cases
