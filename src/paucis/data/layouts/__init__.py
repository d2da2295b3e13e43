"""From a folder to a dataset: which layout it has, which cases it holds, what belongs to whom.

No image and no label is decoded here, but one image to count channels where nothing tells them; the classes of
folders that do not name them are found later, from the labels that may be opened (``with_classes``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paucis.data import dicom, formats, h5files
from paucis.data.case import Case, Dataset
from paucis.data.layouts import decathlon, dicom_series, folders, h5, manifest, nnunet
from paucis.data.layouts.classes import discover_values, name_classes, values_of, with_classes
from paucis.data.layouts.description import DESCRIPTION, ignored, read_description
from paucis.data.layouts.listing import channel_groups, list_scans, to_cases
from paucis.data.layouts.shipped import with_split
from paucis.errors import PaucisError

__all__ = ["discover_values", "ignored", "name_classes", "recognize", "scans", "values_of", "with_classes"]


def recognize(root: Path, series: str | None = None) -> Dataset:
    """What a folder (or a manifest file) holds.

    Looked for in this order: MSD (``dataset.json`` with a ``training`` list), nnU-Net raw (``dataset.json`` with
    ``labels`` beside ``imagesTr/``), ``manifest.csv`` or ``manifest.json``, DICOM series, ``images/`` with ``masks/``
    or ``labels/``, h5 files, a plain folder of images. A ``splits_final.json`` or ``splits.json`` beside them becomes
    the dataset's split, the latter its list order too.

    Args:
        root: the folder; a manifest file; or the ``dataset.json`` of a folder.
        series: of DICOM, the series that are cases (``paucis.data.dicom.files.choose``); None takes all.

    Returns:
        The dataset. ``classes`` and ``values`` are empty where only the masks can tell them (``with_classes``).

    Raises:
        PaucisError: nothing there, a broken description or list, no image, or two cases of one name.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise PaucisError(f"{root} does not exist: check the path")
    if root.is_file():
        if root.name != DESCRIPTION:
            return manifest.read(root)
        root = root.parent
    if not any(root.iterdir()):
        raise PaucisError(f"{root} is an empty folder: put scans into it or check the path")
    dataset = _read(root, series)
    if not dataset.cases:
        raise PaucisError(f"{root} ({dataset.layout}) holds no image: add scans or check the path")
    return with_split(dataset)


def _read(root: Path, series: str | None) -> Dataset:
    reader = _reader(root)
    if reader is dicom_series.read:
        return dicom_series.read(root, series)
    _refuse_series(root, series)
    return reader(root)


def _refuse_series(path: Path, series: str | None) -> None:
    if series is not None:
        raise PaucisError(f"--series {series}: {path} holds no DICOM series to choose from: leave it out")


def _reader(root: Path) -> Callable[[Path], Dataset]:
    """The reader of the layout that the folder has."""
    description = read_description(root)
    if "training" in description:
        return decathlon.read
    listed = manifest.find(root)
    if listed is None and dicom_series.fits(root):
        return dicom_series.read
    if nnunet.fits(root, description):
        return nnunet.read
    if listed is not None:
        return lambda _: manifest.read(listed)
    if folders.fits(root):
        return folders.read
    if h5.fits(root):
        return h5.read
    if list_scans(root):
        return folders.read_plain
    raise PaucisError(
        f"{root} holds no scans in a layout paucis knows: use images/ and masks/, an MSD or nnU-Net dataset.json, "
        "h5 files, DICOM series, or a manifest.csv with the columns image,label"
    )


def scans(path: Path, channels: int | None = None, series: str | None = None) -> list[Case]:
    """The scans to predict at a place; none of them knows of a label.

    Args:
        path: one scan; a folder of scans (nnU-Net's ``CASE_0000.ext`` files of one case are its channels); a folder
            of h5 files or DICOM series; a manifest; or a dataset, of which ``imagesTr/`` and ``imagesTs/``, or
            ``images/``, are read.
        channels: what the model takes; tells numbered scans from the channels of one scan. None guesses.
        series: as in ``recognize``.

    Raises:
        PaucisError: nothing there, nothing readable in it, or two scans of one name.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise PaucisError(f"{path} does not exist: check the path")
    if path.is_dir() and dicom_series.fits(path) and manifest.find(path) is None:
        return dicom_series.scans(path, series)
    _refuse_series(path, series)
    if path.is_file():
        if path.suffix.lower() in manifest.SUFFIXES:
            return [case.unlabeled() for case in recognize(path).cases]
        if not formats.suffix(path) and not dicom.fits(path):
            raise PaucisError(f"{path} is of an unknown format: paucis reads {', '.join(sorted(formats.SUFFIXES))}")
        return to_cases({formats.stem(path): (path,)})
    places = [place for name in ("imagesTr", "imagesTs", "images") if (place := path / name).is_dir()]
    files = [file for place in places or [path] for file in list_scans(place)]
    if not places and h5.fits(path) and all(formats.suffix(file) in h5files.SUFFIXES for file in files):
        return [case.unlabeled() for case in h5.read(path).cases]
    if files:
        return to_cases(channel_groups(files, channels))
    below = [place.name for place in sorted(path.iterdir()) if place.is_dir() and list_scans(place)]
    if below:
        raise PaucisError(f"{path} holds no files of its own: name one of its folders ({', '.join(below)})")
    raise PaucisError(f"{path} holds no scans: paucis reads {', '.join(sorted(formats.SUFFIXES))}")
