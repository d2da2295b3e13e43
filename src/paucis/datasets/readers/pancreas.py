"""Pancreas-CT of the NIH: a DICOM series and a NIfTI label for each scan, or the h5 files of the literature."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from paucis.data import formats, h5files
from paucis.data.case import Geometry
from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Loaded, Scan
from paucis.datasets.source import Source
from paucis.errors import PaucisError

TWICE = ("0025", "0070")
"""Cases that the publisher withdrew: they show the patient of case 2 again."""
TISSUE = (-100, 240)
"""HU of the organ and what borders on it, with contrast medium."""


def pancreas(source: Source) -> Found:
    """``PANCREAS_0001/STUDY/SERIES/*.dcm`` with ``label0001.nii.gz``; the withdrawn cases 25 and 70 are left out."""
    labels = source.by_name(r"label(\d{4})\.nii(?:\.gz)?")
    slices: dict[str, list[Path]] = {}
    for path, match in source.match(r"PANCREAS_(\d{4})/(?:.*/)?[^/]+\.dcm"):
        slices.setdefault(match[1], []).append(path)
    folders = {number: files[0].parent for number, files in slices.items() if number not in TWICE}
    source.unpaired(folders, labels, folders)
    return Found(
        [
            Scan(f"PANCREAS_{number}", tuple(slices[number]), (labels[number],), load=_series)
            for number in folders
            if number in labels
        ]
    )


def pancreas_h5(source: Source) -> Found:
    """``image0001.h5``, ``PANCREAS_0001.h5`` or ``PANCREAS_0001/mri_norm2.h5``: (X, Y, Z) at 1 mm, z-scored."""
    found: dict[str, Path] = {}
    for pattern in (r"(?:image|PANCREAS_|data)(\d{4})(?:_norm)?\.h5", r"PANCREAS_(\d{4})/mri_norm2\.h5"):
        found |= source.by_name(pattern)
    scans = {number: path for number, path in found.items() if number not in TWICE}
    return Found([Scan(f"PANCREAS_{number}", (path,), (path,), load=_standing) for number, path in scans.items()])


class _Slice(NamedTuple):
    number: int
    position: tuple[float, ...]
    path: Path
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


def _series(scan: Scan) -> Loaded:
    """Hounsfield units in the order of the slices' instance numbers, and the label's array laid over them.

    The header of the label is not asked: it places the label mirrored from front to back. What the publisher's label
    and DICOM slices share is the order of their voxels, column by column, row by row, slice by slice.

    Raises:
        PaucisError: slices that are missing, damaged or not parallel, another size than the label's, or a label that
            does not lie on soft tissue.
    """
    slices = sorted(_slice(path) for path in scan.images)
    geometry = _geometry(slices, scan.images[0].parent)
    image = np.stack([_pixels(one.path) for one in slices])
    label = formats.read_label(scan.labels[0]).array[0]
    if label.shape != image.shape:
        sizes = ["x".join(map(str, array.shape)) for array in (label, image)]
        raise PaucisError(
            f"{scan.labels[0]} has {sizes[0]} voxels and its series {sizes[1]}: complete {scan.images[0].parent}"
        )
    inside = image[label > 0]
    share = float(((inside > TISSUE[0]) & (inside < TISSUE[1])).mean()) if inside.size else 0.0
    if share < 0.8:
        raise PaucisError(
            f"{scan.labels[0]}: only {share:.0%} of it lies on soft tissue, so that it does not belong to this series "
            "as it is ordered: take both from the publisher's release"
        )
    return Loaded(image[None], (label > 0).astype(np.uint8), geometry)


def _slice(path: Path) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        number = int(reader.GetMetaData("0020|0013"))
    except (RuntimeError, ValueError) as error:
        raise PaucisError(f"{path} is no DICOM slice with a number: download it again") from error
    return _Slice(number, reader.GetOrigin(), path, reader.GetSpacing(), reader.GetDirection())


def _geometry(slices: list[_Slice], folder: Path) -> Geometry:
    """Spacing and direction from the places of the slices, since the thickness may say otherwise."""
    places = np.array([one.position for one in slices])
    steps = np.diff(places, axis=0)
    apart = np.linalg.norm(steps, axis=1)
    if len(slices) < 2 or apart.min() <= 0 or np.ptp(apart) > 0.1 * np.median(apart):
        raise PaucisError(f"{folder}: its {len(slices)} slices do not lie at one distance: download the series again")
    matrix = np.reshape(slices[0].direction, (3, 3)).copy()
    matrix[:, 2] = steps.mean(0) / np.linalg.norm(steps.mean(0))
    column, row = slices[0].spacing[:2]
    origin = places[0]
    return Geometry(
        spacing=(float(apart.mean()), float(row), float(column)),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=tuple(float(value) for value in matrix.ravel()),
    )


def _pixels(path: Path) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        raise PaucisError(f"{path} cannot be read: download it again") from error
    return pixels.reshape(pixels.shape[-2:]).astype(np.int16)


def _standing(scan: Scan) -> Loaded:
    """From (X, Y, Z), the order of the file, to (Z, Y, X)."""
    image, label = (h5files.read(scan.images[0], key).array.transpose(0, 3, 2, 1) for key in ("image", "label"))
    if image.shape != label.shape:
        raise PaucisError(f"{scan.images[0]}: image and label differ in size: copy or download it again")
    return Loaded(np.ascontiguousarray(image), np.ascontiguousarray(label[0]).astype(np.uint8), Geometry())
