"""Masks on disk: which there are, what is known of them, and which prediction goes with which label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paucis.data.formats import bare, stem
from paucis.data.layouts import dicom_series, ignored, recognize
from paucis.data.layouts.listing import channel_groups, list_scans
from paucis.errors import PaucisError

_DESCRIBED = ("dataset.json", "manifest.csv", "manifest.json")


@dataclass(frozen=True)
class Masks:
    """Masks by case name, with whatever else is known of them.

    Attributes:
        root: the file or folder they were found in.
        files: mask of each case.
        classes: class names, the background first; empty where nobody says.
        values: raw value of each class; empty where nobody says.
        unknown: raw values declared to mark voxels that do not count.
        images: image files of each case.
        maps: uncertainty map of each case.
        groups: patient of each case.
    """

    root: Path
    files: dict[str, Path]
    classes: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    unknown: frozenset[int] = frozenset()
    images: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    maps: dict[str, Path] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A prediction and its label, which may go by different names."""

    name: str
    prediction: Path
    label: Path
    labeled_as: str


def find_predictions(path: Path) -> Masks:
    """The masks of a folder that ``predict`` wrote, of any folder of masks, or a single one.

    Raises:
        PaucisError: there is no such path, no mask in it, or its manifest is damaged.
    """
    _must_exist(path)
    if path.is_file():
        return Masks(path, {bare(path): path}, maps=_entropy_maps(path.parent))
    found = _written_by_predict(path) or Masks(path, _by_name(path), maps=_entropy_maps(path))
    if not found.files:
        raise PaucisError(f"{path} holds no masks: give the folder that `paucis predict` wrote, or a folder of masks")
    return found


def find_labels(path: Path, series: str | None = None) -> Masks:
    """The labels of a dataset in any layout, of a folder of masks, or a single one.

    Args:
        path: where they are.
        series: of a DICOM dataset, the series that are cases.

    Raises:
        PaucisError: there is no such path, or no label in it.
    """
    _must_exist(path)
    if path.is_file() and path.suffix not in (".csv", ".json"):
        return Masks(path, {bare(path): path})
    found = _written_by_predict(path)
    plain = found is None and series is None and list_scans(path)
    if plain and not _is_dataset(path):
        found = Masks(path, _by_name(path))
    if found is None:
        found = _of_dataset(path, series)
    if not found.files:
        raise PaucisError(f"{path} holds no labels: give a folder of masks, or a dataset with labels")
    return found


def find_images(path: Path) -> dict[str, tuple[Path, ...]]:
    """The image files of each case in a folder or a dataset, or a single image; channels in order.

    Raises:
        PaucisError: there is no such path, or nothing in it.
    """
    _must_exist(path)
    if path.is_file():
        return {bare(path): (path,), stem(path): (path,)}
    files = list_scans(path)
    if files and not _is_dataset(path):
        return channel_groups(files)
    return {case.name: case.images for case in recognize(path).cases}


def match(predictions: Masks, labels: Masks) -> tuple[list[Pair], list[str], list[str]]:
    """The pairs of one name, the labels without a prediction, and the predictions without a label.

    Two single files are a pair whatever their names. nnU-Net's channel number is left aside where it is in the way.
    """
    if predictions.root.is_file() and labels.root.is_file() and len(labels.files) == 1:
        (name, prediction), (other, label) = next(iter(predictions.files.items())), next(iter(labels.files.items()))
        return [Pair(name, prediction, label, other)], [], []
    plain = {stem(Path(file.name)): name for name, file in predictions.files.items()}
    pairs, missing = [], []
    used = predictions.files.keys() & labels.files.keys()
    for name, label in labels.files.items():
        known = name if name in predictions.files else plain.get(name, stem(label))
        if known in predictions.files and (known == name or known not in used):
            used.add(known)
            pairs.append(Pair(known, predictions.files[known], label, name))
        else:
            missing.append(name)
    return pairs, missing, [name for name in predictions.files if name not in used]


def _is_dataset(path: Path) -> bool:
    return any((path / name).exists() for name in _DESCRIBED) or dicom_series.fits(path)


def _of_dataset(path: Path, series: str | None) -> Masks:
    dataset = recognize(path, series)
    return Masks(
        root=path,
        files={case.name: case.label for case in dataset.cases if case.label is not None},
        classes=dataset.classes,
        values=dataset.values,
        unknown=ignored(dataset),
        images={case.name: case.images for case in dataset.cases},
        groups={case.name: case.group for case in dataset.cases if case.group},
    )


def _written_by_predict(folder: Path) -> Masks | None:
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PaucisError(f"{path} cannot be read ({error}): predict again, or remove it") from error
    if not isinstance(content, dict) or "values" not in content or "cases" not in content:
        return None  # the manifest of a dataset
    try:
        return _from_manifest(folder, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PaucisError(f"{path} is not as `paucis predict` writes it ({error!r}): predict again") from error


def _from_manifest(folder: Path, content: Mapping[str, Any]) -> Masks:
    files, images, maps = {}, {}, {}
    for case in content["cases"]:
        name = str(case["name"])
        files[name] = folder / case["mask"]
        images[name] = tuple(Path(image) for image in case.get("image") or ())
        if entropy := (case.get("maps") or {}).get("entropy"):
            maps[name] = folder / entropy
    classes = tuple(str(name) for name in content.get("classes", ()))
    return Masks(folder, files, classes, tuple(int(value) for value in content["values"]), images=images, maps=maps)


def _entropy_maps(folder: Path) -> dict[str, Path]:
    ending = "_entropy"
    return {bare(file)[: -len(ending)]: file for file in list_scans(folder / "maps") if bare(file).endswith(ending)}


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in list_scans(folder):
        name = bare(file)
        if name in found:
            raise PaucisError(f"{file} and {found[name].name} are two masks of one name: remove one of them")
        found[name] = file
    return found


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise PaucisError(f"{path} does not exist: check the path")
