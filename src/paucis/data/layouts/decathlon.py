"""The Medical Segmentation Decathlon: ``dataset.json`` lists every image with its label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paucis.data import formats
from paucis.data.case import Case, Dataset
from paucis.data.layouts.description import DESCRIPTION, channels_of, classes_of, read_description
from paucis.data.layouts.listing import refuse_twice
from paucis.errors import PaucisError

LAYOUT = "msd"


def read(root: Path) -> Dataset:
    """Cases of the ``training`` list, then the images of the ``test`` list that are there.

    An entry without a label, and every image of the test list (MSD keeps those labels to itself), joins the
    unlabeled pool.

    Raises:
        PaucisError: a list holds what is no entry, or names one image twice.
    """
    description = read_description(root)
    cases = [_case(root, image, label) for image, label in _entries(root, description, "training")]
    tests = [_case(root, image, None) for image, _ in _entries(root, description, "test")]
    listed = {case.images for case in cases}
    cases += [case for case in tests if case.images not in listed and all(file.is_file() for file in case.images)]
    refuse_twice((case.name for case in cases), root / DESCRIPTION)
    classes, values = classes_of(description, root / DESCRIPTION)
    return Dataset(root, LAYOUT, tuple(cases), channels_of(description) or ("image",), classes, values)


def _entries(root: Path, description: dict[str, Any], key: str) -> Iterator[tuple[str, str | None]]:
    entries = description.get(key) or []
    if not isinstance(entries, list):
        raise PaucisError(f"{root / DESCRIPTION}: '{key}' is not a list: list the images with their labels")
    for index, entry in enumerate(entries):
        image = entry.get("image") if isinstance(entry, dict) else entry
        label = entry.get("label") or None if isinstance(entry, dict) else None
        if not isinstance(image, str) or not image:
            raise PaucisError(f"{root / DESCRIPTION}: entry {index} of '{key}' names no image: mend or remove it")
        if not isinstance(label, str | None):
            raise PaucisError(f"{root / DESCRIPTION}: entry {index} of '{key}': 'label' names no file: mend it")
        if not Path(image).name.startswith("._"):
            yield image, label


def _case(root: Path, image: str, label: str | None) -> Case:
    """A case; files that nnU-Net 1 renamed to ``CASE_0000.ext`` are found under those names."""
    path = root / image
    images: tuple[Path, ...] = (path,)
    if not path.is_file():
        ending = formats.suffix(path)
        images = tuple(sorted(path.parent.glob(f"{formats.bare(path)}_[0-9][0-9][0-9][0-9]{ending}"))) or images
    name = formats.stem(path)
    return Case(name, images, root / label if label else None, group=name)
