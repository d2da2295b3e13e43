"""``images/`` beside ``masks/`` with equal stems, and plain folders of images."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from pathlib import Path

from paucis.data import formats, pictures
from paucis.data.case import Case, Dataset
from paucis.data.layouts.description import DESCRIPTION, channels_of, classes_of, read_description
from paucis.data.layouts.listing import channel_groups, list_scans, refuse_twice, to_cases
from paucis.data.problems import Problem
from paucis.errors import PaucisError

LAYOUT = "folders"
IMAGES = ("images", "imagesTr")
MASKS = ("masks", "labels", "labelsTr")
_ADDITION = re.compile(r"[_-](mask|masks|seg|segmentation|label|labels|gt|manual\d?|groundtruth|annotation)$", re.I)


def fits(root: Path) -> bool:
    """Whether the folder has an ``images/``."""
    return _first(root, IMAGES) is not None


def read(root: Path) -> Dataset:
    """Cases of ``images/``, each with the mask of its name in ``masks/`` or ``labels/``, if there is one.

    A mask's name may say what it is (``CASE_mask``, ``CASE_segmentation``, ``CASE_manual1``). Sets that pair files
    in other ways (DRIVE's ``21_training.tif`` and ``21_manual1.gif``) are read through a ``manifest.csv``. Classes
    and channels are taken from a ``dataset.json``, if one with ``labels`` or ``channel_names`` lies there.

    Raises:
        PaucisError: two images or masks of one name, or masks of which none belongs to any image.
    """
    images, masks = _first(root, IMAGES), _first(root, MASKS)
    files, found = list_scans(images or root), list_scans(masks) if masks else []
    labels = _by_stem(found, {formats.bare(file) for file in files}, masks or root)
    separate = all(formats.bare(file) in labels for file in files)  # numbers of scans, not of channels
    cases = to_cases({formats.bare(f): (f,) for f in files} if separate else channel_groups(files), labels)
    refuse_twice((formats.bare(file) for file in files), images or root)
    if found and not any(case.label for case in cases):
        raise PaucisError(
            f"{masks}: no mask is named like an image (such as '{found[0].name}' and "
            f"'{files[0].name if files else 'none'}'): rename them or list the pairs in a manifest.csv"
        )
    return _dataset(root, cases)


def read_plain(root: Path) -> Dataset:
    """A folder of nothing but images: all unlabeled."""
    return _dataset(root, to_cases(channel_groups(list_scans(root))))


def leftovers(dataset: Dataset) -> list[Problem]:
    """What lies in the folders of a complete dataset without being used: masks without an image, folders unread."""
    if dataset.layout not in (LAYOUT, "nnunet"):
        return []
    masks = _first(dataset.root, MASKS)
    used = {case.label for case in dataset.cases}
    left = [file for file in list_scans(masks) if file not in used] if masks else []
    problems = [
        Problem("warning", str(file), "the mask belongs to no image", "rename it or add its image") for file in left
    ]
    if masks is None and dataset.layout == LAYOUT and (dataset.root / IMAGES[0]).is_dir():
        for folder in sorted(dataset.root.iterdir()):
            if folder.name not in IMAGES and list_scans(folder):
                remedy = "rename it masks/, or list images and masks in a manifest.csv"
                problems.append(Problem("warning", str(folder), "the folder is not read", remedy))
    return problems


def _dataset(root: Path, cases: list[Case]) -> Dataset:
    description = read_description(root)
    classes, values = classes_of(description, root / DESCRIPTION)
    return Dataset(root, LAYOUT, tuple(cases), channels_of(description) or guess_channels(cases), classes, values)


def guess_channels(cases: Sequence[Case]) -> tuple[str, ...]:
    """Channel names from the first image that can be read."""
    for case in cases[:8]:
        try:
            count = len(formats.read_image(case.images).array)
        except PaucisError:
            continue
        if count == 3 and formats.suffix(case.images[0]) in pictures.SUFFIXES:
            return ("red", "green", "blue")
        return ("image",) if count == 1 else tuple(f"channel_{index}" for index in range(count))
    return ("image",)


def mask_name(file: Path, images: Container[str]) -> str:
    """The image that a mask's name points to: its own, without what says that it is a mask (``CASE_seg``)."""
    name = formats.bare(file)
    return name if name in images else _ADDITION.sub("", name)


def _by_stem(files: list[Path], images: set[str], where: Path) -> dict[str, Path]:
    """Masks by the name of their image."""
    names = [mask_name(file, images) for file in files]
    refuse_twice(names, where)
    return dict(zip(names, files, strict=True))


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)
