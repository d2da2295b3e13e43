"""What the classes of a dataset are in the terms of a coding scheme, for those who write DICOM segmentations.

``dataset.json`` may say it beside ``labels``; segmentations that serve as labels say it themselves::

    "segments": {
        "liver": {"type": ["10200004", "SCT", "Liver"], "category": ["91723000", "SCT", "Anatomical Structure"]}
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paucis.data import dicom
from paucis.data.case import Dataset
from paucis.data.layouts.description import DESCRIPTION, read_description, read_json
from paucis.errors import PaucisError

Codes = dict[str, dict[str, list[str]]]
FILE = "segments.json"
"""Of a run folder."""
_KEYS = ("type", "category")


def codes_of(dataset: Dataset) -> Codes:
    """Codes by class name: of ``dataset.json``, and of the first segmentation that names the class.

    Raises:
        PaucisError: ``segments`` of ``dataset.json`` is not as above.
    """
    codes: Codes = {}
    if dataset.root.is_dir():
        given = read_description(dataset.root).get("segments") or {}
        codes = _checked(given, dataset.root / DESCRIPTION, dataset.classes)
    missing = set(dataset.classes[1:]) - set(codes)
    for case in dataset.cases:
        if not missing:
            break
        if case.label is None or not dicom.is_segmentation(case.label):
            continue
        for segment in dicom.segments(case.label):
            if segment.label in missing and segment.kind[0]:
                codes[segment.label] = {"type": list(segment.kind), "category": list(segment.category)}
                missing.discard(segment.label)
    return codes


def read_codes(path: Path) -> Codes:
    """What a run folder keeps; nothing where it keeps nothing.

    Raises:
        PaucisError: the file is broken.
    """
    return _checked(read_json(path), path, None) if path.is_file() else {}


def _checked(given: Any, path: Path, classes: tuple[str, ...] | None) -> Codes:
    if not isinstance(given, Mapping):
        raise PaucisError(f'{path}: \'segments\' is not an object: write it as {{"liver": {{"type": [...]}}}}')
    for name, entry in given.items():
        if classes and name not in classes:
            raise PaucisError(f"{path}: 'segments' names '{name}', which is no class ({', '.join(classes)})")
        if not isinstance(entry, Mapping) or "type" not in entry or not all(_is_code(entry.get(key)) for key in entry):
            raise PaucisError(
                f'{path}: segment \'{name}\' needs a "type" (and may have a "category") of value, scheme and meaning: '
                'write {"type": ["10200004", "SCT", "Liver"]}'
            )
    return {name: {key: list(entry[key]) for key in _KEYS if key in entry} for name, entry in given.items()}


def _is_code(code: Any) -> bool:
    return isinstance(code, list) and len(code) == 3 and all(isinstance(part, str) and part for part in code)
