"""A prepared dataset: ``images/`` and ``masks/``, listed by a ``manifest.json``, with a ``splits.json``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paucis.data import formats, pictures, volumes
from paucis.data.case import Geometry
from paucis.datasets.scan import Loaded
from paucis.files import unwritable, write_json

REMEDY = "free space or choose another --out"


def write_scan(root: Path, name: str, scan: Loaded) -> tuple[list[str], str | None]:
    """Writes one scan below ``root``.

    Image files that no step has changed are copied as they are; others become PNG (TIFF for floats and further
    channels) or compressed NIfTI, one file per channel. Labels become PNG or NIfTI in the smallest integer type.

    Returns:
        The files of the image and that of the label, relative to ``root``.

    Raises:
        PaucisError: the disk is full, or the folder cannot be written.
    """
    try:
        if scan.files:
            images = _copied(root, name, scan.files)
        elif scan.geometry.dims == 2 and not scan.geometry.physical:
            images = [_picture(root, name, scan.image)]
        else:
            images = _volume(root, name, scan.image, scan.geometry)
    except (OSError, RuntimeError) as error:
        raise unwritable(root, error, REMEDY) from error
    if scan.label is None:
        return images, None
    flat = scan.geometry.dims == 2 and not scan.geometry.physical
    label = f"masks/{name}{'.png' if flat else '.nii.gz'}"
    formats.write_mask(root / label, scan.label, scan.geometry)
    return images, label


def write_lists(root: Path, about: dict[str, Any], cases: Sequence[dict[str, Any]], folds: Sequence[Any]) -> None:
    """Writes the manifest, in the order of ``cases``, and the split, if there are folds."""
    write_json(root / "manifest.json", {**about, "cases": list(cases)})
    if folds:
        write_json(root / "splits.json", folds[0] if len(folds) == 1 else list(folds))


def _copied(root: Path, name: str, files: Sequence[Path]) -> list[str]:
    targets = []
    for index, file in enumerate(files):
        number = f"_{index:04}" if len(files) > 1 else ""
        targets.append(f"images/{name}{number}{formats.suffix(file)}")
        (root / "images").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, root / targets[-1])
    return targets


def _picture(root: Path, name: str, image: NDArray[Any]) -> str:
    (root / "images").mkdir(parents=True, exist_ok=True)
    if image.dtype == np.uint8 and len(image) in (1, 3):
        target = f"images/{name}.png"
        Image.fromarray(image[0, 0] if len(image) == 1 else np.moveaxis(image[:, 0], 0, -1)).save(root / target)
    else:
        target = f"images/{name}.{'png' if image.dtype == np.uint16 and len(image) == 1 else 'tiff'}"
        pictures.write(root / target, image[0])
    return target


def _volume(root: Path, name: str, image: NDArray[Any], geometry: Geometry) -> list[str]:
    (root / "images").mkdir(parents=True, exist_ok=True)
    targets = []
    for index, channel in enumerate(image):
        number = f"_{index:04}" if len(image) > 1 else ""
        targets.append(f"images/{name}{number}.nii.gz")
        volumes.write(root / targets[-1], channel, geometry)
    return targets
