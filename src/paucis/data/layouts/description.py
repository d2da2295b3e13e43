"""``dataset.json``: what MSD and nnU-Net say of channels and classes, in the old style and the new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paucis.data.case import Dataset
from paucis.errors import PaucisError
from paucis.files import read_text

DESCRIPTION = "dataset.json"
_CHANNELS = ("channel_names", "modality")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        PaucisError: it cannot be read or is broken; the line of the fault is named.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise PaucisError(f"{path} is not valid JSON ({error}): mend that line") from error


def read_description(root: Path) -> dict[str, Any]:
    """The content of ``dataset.json`` in ``root``; empty when there is none.

    Raises:
        PaucisError: it is broken or no JSON object.
    """
    path = root / DESCRIPTION
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise PaucisError(f"{path} is not a JSON object: it needs keys such as 'labels' and 'channel_names'")
    for key in _CHANNELS:
        if not isinstance(content.get(key) or {}, str | list | dict):
            raise PaucisError(f'{path}: \'{key}\' is not an object: write it as {{"0": "MRI"}}')
    return content


def channels_of(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Channel names, from ``channel_names`` or ``modality``, in the order of their numbers."""
    given = [description[key] for key in _CHANNELS if description.get(key)]
    named: Any = given[0] if given else {}
    if isinstance(named, str):
        return (named,)
    if isinstance(named, list):
        return tuple(map(str, named))
    return tuple(str(named[key]) for key in sorted(named, key=lambda key: (len(key), key)))


def classes_of(description: Mapping[str, Any], path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and raw values in ascending order, background first; the label to ignore left out.

    Raises:
        PaucisError: ``labels`` holds no whole numbers, or regions of several labels.
    """
    pairs = sorted((value, name) for name, value in _labels(description, path).items() if not _is_ignore(name))
    if pairs and pairs[0][0] != 0:
        pairs.insert(0, (0, "background"))
    if len({value for value, _ in pairs}) < len(pairs):
        raise PaucisError(f"{path}: two classes in 'labels' have the same value: give each its own")
    return tuple(name for _, name in pairs), tuple(value for value, _ in pairs)


def ignored(dataset: Dataset) -> frozenset[int]:
    """Raw mask values that mean 'do not look here': nnU-Net's ``ignore`` label, where the dataset declares one."""
    paths = [path for name in (DESCRIPTION, "manifest.json") if (path := dataset.root / name).is_file()]
    described = [(content, path) for path in paths if isinstance(content := read_json(path), dict)]
    labels = [pair for content, path in described for pair in _labels(content, path).items()]
    return frozenset(value for name, value in labels if _is_ignore(name))


def _is_ignore(name: str) -> bool:
    return name.lower() in ("ignore", "ignored")


def _labels(description: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Class name to raw value, from ``{"0": "background"}`` or ``{"background": 0}``."""
    labels = description.get("labels") or {}
    if not isinstance(labels, dict):
        raise PaucisError(f'{path}: \'labels\' is not an object: write it as {{"background": 0, "liver": 1}}')
    found = {}
    for key, value in labels.items():
        if isinstance(value, list):
            raise PaucisError(
                f"{path}: label '{key}' is a region of several labels {value}: give each class one whole number"
            )
        name, number = (value, key) if isinstance(value, str) and not value.lstrip("-").isdigit() else (key, value)
        if not str(number).removeprefix("-").isdecimal():
            raise PaucisError(f"{path}: label '{key}': '{value}' has no whole number: give each class one")
        found[str(name)] = int(number)
    return found
