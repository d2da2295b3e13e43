"""DICOM: a folder below which series lie, with segmentation objects or masks of other formats among them.

Series are grouped by Series Instance UID, whatever their files are called. Scouts, whole-slide images and, beside
volumes, pictures without a place in space are left out. A case goes by the name of the folder that holds it alone;
where several series share a folder, by that name and a digest of the series. No name comes from the patient.

Which mask is a series' own:

- a segmentation object that refers to the series, or else is alone in its frame of reference;
- a mask of another format, or a segmentation, named like the case, in ``masks/`` or anywhere beside the series;
- the only mask of another format in the folder of a case that holds one series.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paucis.data import dicom, formats, pictures, volumes
from paucis.data.case import Case, Dataset
from paucis.data.layouts.description import DESCRIPTION, channels_of, classes_of, read_description
from paucis.data.layouts.folders import IMAGES, MASKS, mask_name
from paucis.data.layouts.listing import list_scans, refuse_twice
from paucis.data.problems import Problem
from paucis.errors import PaucisError

if TYPE_CHECKING:
    from paucis.data.dicom.files import Index, Instance, Series

LAYOUT = "dicom"
_OTHERS = tuple(suffix for suffix in formats.SUFFIXES if suffix not in dicom.SUFFIXES)


@dataclass(frozen=True)
class SeriesFound:
    """A series, or another object, of a folder.

    Attributes:
        name: short digest of its UID, which ``--series`` takes.
        modality: CT, MR, SEG ...
        number: of the series.
        description: of the series; empty where it names the patient.
        slices: or frames.
        size: rows and columns.
        case: name of the case that it is, or empty.
        reason: why it is none, or empty.
    """

    name: str
    modality: str
    number: str
    description: str
    slices: int
    size: tuple[int, int]
    case: str
    reason: str


def fits(root: Path) -> bool:
    """Whether DICOM images lie below the folder; right in it, where scans of other formats lie there too."""
    images = _images(root)
    mixed = bool(list_scans(images, _OTHERS))
    if not _any_dicom(images, deep=not mixed):
        return False
    found = _index(images).images
    return any(one.folder == images for one in found) if mixed else bool(found)


def read(root: Path, series: str | None = None) -> Dataset:
    """A case for each series, or for each that the rule names (``paucis.data.dicom.files.choose``).

    Classes are those of a ``dataset.json``, else the labels of the segments: one class for each label, in the order
    of their numbers, whatever number a segmentation gives them.

    Raises:
        PaucisError: no series that can be used, none that the rule names, or two masks of one series.
    """
    images = _images(root)
    chosen = _by_name(images, series)
    description = read_description(root)
    classes, values = classes_of(description, root / DESCRIPTION)
    classes, values, labels = _numbered(_labels(root, images, chosen), classes, values)
    cases = tuple(replace(case, label=labels.get(case.name)) for case in _cases(chosen))
    return Dataset(root, LAYOUT, cases, channels_of(description) or _channels(chosen.values()), classes, values)


def scans(root: Path, series: str | None = None) -> list[Case]:
    """The cases alone; no mask is looked for.

    Raises:
        PaucisError: no series that can be used, or none that the rule names.
    """
    return _cases(_by_name(_images(root), series))


def found(root: Path, series: str | None = None) -> tuple[SeriesFound, ...]:
    """Every series and object below the folder, and what becomes of it."""
    images = _images(root)
    index = _index(images)
    names = {id(one): name for name, one in _by_name(images, series).items()}
    used = {case.label for case in read(root, series).cases}
    rows = [_row(one, names.get(id(one), ""), _reason(one, index)) for one in index.images]
    rows += [_other(one, used) for one in index.others]
    return tuple(rows)


def damaged(root: Path) -> list[Problem]:
    """Files that begin as DICOM but cannot be read."""
    remedy = "copy or export it again, or remove it"
    return [Problem("warning", str(file), "a damaged DICOM file", remedy) for file in _index(_images(root)).broken]


def _by_name(images: Path, rule: str | None) -> dict[str, Series]:
    """The series that are cases, by the names of the cases."""
    chosen = _chosen(_index(images), rule)
    names = _names(chosen, images)
    refuse_twice(names, images)
    return dict(sorted(zip(names, chosen, strict=True)))


def _cases(chosen: Mapping[str, Series]) -> list[Case]:
    patients = _patients(list(chosen.values()))
    return [
        Case(name, (dicom.address(one),), group=patient or name)
        for (name, one), patient in zip(chosen.items(), patients, strict=True)
    ]


def _channels(chosen: Collection[Series]) -> tuple[str, ...]:
    """The modality, where it is one; the colors of pictures by their names."""
    modalities = {one.first.modality for one in chosen}
    if any(one.first.samples == 3 for one in chosen):
        return ("red", "green", "blue")
    return (modalities.pop() or "image",) if len(modalities) == 1 else ("image",)


def _images(root: Path) -> Path:
    """The folder of images, where the dataset has one beside its masks, else the folder itself."""
    return next((root / name for name in IMAGES if (root / name).is_dir()), root)


def _any_dicom(folder: Path, deep: bool) -> bool:
    """Whether a first look finds a DICOM file; headers are not read."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if deep and not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if formats.suffix(file) in ("", *dicom.SUFFIXES) and dicom.fits(file):
                return True
    return False


def _index(folder: Path) -> Index:
    from paucis.data.dicom.files import index  # what needs pydicom is loaded for DICOM alone

    return index(folder)


def _chosen(index: Index, rule: str | None) -> list[Series]:
    from paucis.data.dicom.files import choose

    usable = [one for one in index.images if not _reason(one, index)]
    return choose(usable, rule)


def _reason(one: Series, index: Index) -> str:
    """Why a series of images is no case whatever the rule."""
    if one.first.localizer:
        return "a scout image"
    if one.first.tiled:
        return "a whole-slide image"
    if not one.first.placed and any(other.first.placed and not other.first.tiled for other in index.images):
        return "no place in space"
    return ""


def _names(chosen: Sequence[Series], root: Path) -> list[str]:
    """The folder right below ``root`` where it holds one series; else the folders of the series; else with a digest."""
    tops = Counter(_top(one, root) for one in chosen)
    folders = Counter(one.folder for one in chosen)
    names = []
    for one in chosen:
        top, parts = _top(one, root), one.folder.relative_to(root).parts
        if len(chosen) == 1 and not parts:
            names.append(root.resolve().name if len(one.instances) > 1 else formats.bare(one.first.path))
        elif not one.first.placed or (not parts and len(one.instances) == 1):
            names.append("_".join((*parts, formats.bare(one.first.path))))
        elif top and tops[top] == 1:
            names.append(top)
        elif parts and folders[one.folder] == 1:
            names.append("_".join(parts))
        else:
            names.append("_".join((*parts, one.short)) if parts else f"series_{one.short}")
    return names


def _top(one: Series, root: Path) -> str:
    parts = one.folder.relative_to(root).parts
    return parts[0] if parts else ""


def _patients(chosen: Sequence[Series]) -> list[str]:
    """A patient for each series, told by Patient ID and study, called by a number.

    One Patient ID for all (``ANONYMOUS``) tells nothing apart; studies do then.
    """
    ids = {one.first.patient for one in chosen} - {""}
    keys = [one.first.patient if len(ids) > 1 and one.first.patient else one.first.study for one in chosen]
    order = {key: number for number, key in enumerate(dict.fromkeys(key for key in keys if key), 1)}
    return [f"patient {order[key]}" if key else "" for key in keys]


def _labels(root: Path, images: Path, cases: dict[str, Series]) -> dict[str, Path]:
    """The mask of each case that has one."""
    masks = next((root / name for name in MASKS if (root / name).is_dir()), None)
    objects = [*_index(images).segmentations, *(_index(masks).segmentations if masks else ())]
    objects = list({one.path: one for one in objects}.values())
    labels: dict[str, Path] = {}
    for one in objects:
        name = _refers_to(one, cases, objects)
        if name is not None:
            _add(labels, name, one.path)
    for file in _files(masks or images):
        name = _belongs_to(file, masks or images, images, cases)
        if name is not None and labels.get(name) != file:
            _add(labels, name, file)
    return labels


def _refers_to(one: Instance, cases: dict[str, Series], objects: Sequence[Instance]) -> str | None:
    """The case of a segmentation object: by reference, by its name, or by a frame of reference of its own."""
    for name, series in cases.items():
        if series.uid in one.refers:
            apart = one.frame_of_reference and series.first.frame_of_reference
            if apart and one.frame_of_reference != series.first.frame_of_reference:
                raise PaucisError(
                    f"{one.path}: Frame of Reference UID (0020,0052) is not that of its series {series.short}: "
                    "give the segmentation of this series"
                )
            return name
    if mask_name(one.path, cases) in cases:
        return mask_name(one.path, cases)
    if one.path.parent.name in cases and one.path.parent != cases[one.path.parent.name].folder:
        return one.path.parent.name  # masks/CASE/anything.dcm
    frame = one.frame_of_reference
    alike = [name for name, series in cases.items() if frame and series.first.frame_of_reference == frame]
    alone = sum(other.frame_of_reference == frame for other in objects) == 1
    return alike[0] if len(alike) == 1 and alone else None


def _files(folder: Path) -> list[Path]:
    """Masks of other formats at any depth."""
    kinds = (*volumes.SUFFIXES, *(suffix for suffix in pictures.SUFFIXES if suffix not in pictures.JPEG))
    places = [Path(place) for place, _, _ in os.walk(folder, followlinks=True)]
    return [file for place in sorted(places) if not place.name.startswith(".") for file in list_scans(place, kinds)]


def _belongs_to(file: Path, masks: Path, images: Path, cases: dict[str, Series]) -> str | None:
    name = mask_name(file, cases)
    if name in cases:
        return name
    parts = file.relative_to(masks).parts[:-1]
    if parts and parts[0] in cases and formats.suffix(file) in volumes.SUFFIXES:
        return parts[0]
    if masks == images and not parts and len(cases) == 1 and formats.suffix(file) in volumes.SUFFIXES:
        return next(iter(cases))
    return None


def _add(labels: dict[str, Path], name: str, path: Path) -> None:
    other = labels.setdefault(name, path)
    if other != path:
        raise PaucisError(
            f"{path} and {other.name} are both masks of '{name}': keep one, or list image and label in a manifest.csv"
        )


def _numbered(
    labels: dict[str, Path], classes: tuple[str, ...], values: tuple[int, ...]
) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, Path]]:
    """Classes by the labels of segments where nothing else names them, and masks that agree on their values.

    Where classes have names, a segment of such a label gets the value of the class.
    """
    objects = {name: dicom.segments(path) for name, path in labels.items() if dicom.is_segmentation(path)}
    for name, segments in objects.items():
        refuse_twice((segment.label for segment in segments), labels[name])
    if not values and objects and len(objects) == len(labels):
        order: dict[str, tuple[int, str]] = {}
        for segment in (segment for segments in objects.values() for segment in segments):
            place = (segment.number, segment.label)
            order[segment.label] = min(order.get(segment.label, place), place)
        classes = ("background", *sorted(order, key=lambda label: order[label]))
        values = tuple(range(len(classes)))
    known = {name.lower(): value for name, value in zip(classes, values, strict=True)}
    renumbered = {
        name: dicom.renumber(
            labels[name], {segment.number: known.get(segment.label.lower(), segment.number) for segment in segments}
        )
        for name, segments in objects.items()
    }
    return classes, values, {**labels, **renumbered}


def _row(one: Series, case: str, reason: str) -> SeriesFound:
    first = one.first
    told = reason if reason or case else "not chosen"
    return SeriesFound(one.short, first.modality, first.number, first.description, one.slices, first.size, case, told)


def _other(one: Instance, used: Iterable[Path | None]) -> SeriesFound:
    from paucis.data.dicom.files import short_name

    files = {dicom.members(path)[0] for path in used if path is not None}
    reason = ("a mask" if one.path in files else "belongs to no series") if one.modality == "SEG" else "no image"
    return SeriesFound(
        short_name(one.series), one.modality, one.number, one.description, one.frames, one.size, "", reason
    )
