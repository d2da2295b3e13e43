"""Pancreas-CT of the NIH: a DICOM series and a NIfTI label for each scan, or the h5 files of the literature."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from paucis.data import dicom, formats, h5files
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
    series: dict[str, dict[Path, None]] = {}
    for path, match in source.match(r"PANCREAS_(\d{4})/(?:.*/)?[^/]+\.dcm"):
        if match[1] not in TWICE:
            series.setdefault(match[1], {})[path.parent] = None
    folders = {number: next(iter(found)) for number, found in series.items()}
    for number, found in series.items():
        for other in list(found)[1:]:
            source.wrong(other, f"a second series of case {number}, beside {folders[number]}", "keep one of them")
    source.unpaired(folders, labels, folders)
    return Found(
        [
            Scan(f"PANCREAS_{number}", (folder,), (labels[number],), load=_series)
            for number, folder in folders.items()
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


def _series(scan: Scan) -> Loaded:
    """Hounsfield units, slices in the order of their place, and the label's array laid over them.

    The header of the label is not asked: it places the label mirrored from front to back. What the publisher's label
    and DICOM slices share is the order of their voxels: column by column, row by row, and slice by slice as the slices
    are numbered.

    Raises:
        PaucisError: slices that are missing, damaged, not parallel or not numbered along their place, another size than
            the label's, or a label that does not lie on soft tissue.
    """
    (folder,), (path,) = scan.images, scan.labels
    (image, geometry), numbers = dicom.read_numbered(folder)
    steps = {later - earlier for earlier, later in pairwise(number or 0 for number in numbers)}
    if steps not in ({1}, {-1}):
        raise PaucisError(
            f"{folder}: Instance Number (0020,0013) does not count its slices one by one along their place, so that "
            "the label cannot be laid over them: download the series again"
        )
    label = formats.read_label(path).array[0][:: steps.pop()]
    if label.shape != image.shape[1:]:
        sizes = ["x".join(map(str, shape)) for shape in (label.shape, image.shape[1:])]
        raise PaucisError(f"{path} has {sizes[0]} voxels and its series {sizes[1]}: complete {folder}")
    inside = image[0][label > 0]
    share = float(((inside > TISSUE[0]) & (inside < TISSUE[1])).mean()) if inside.size else 0.0
    if share < 0.8:
        raise PaucisError(
            f"{path}: only {share:.0%} of it lies on soft tissue, so that it does not belong to this series as it is "
            "ordered: take both from the publisher's release"
        )
    return Loaded(image, (label > 0).astype(np.uint8), replace(geometry, suffix=".nii.gz"))


def _standing(scan: Scan) -> Loaded:
    """From (X, Y, Z), the order of the file, to (Z, Y, X)."""
    image, label = (h5files.read(scan.images[0], key).array.transpose(0, 3, 2, 1) for key in ("image", "label"))
    if image.shape != label.shape:
        raise PaucisError(f"{scan.images[0]}: image and label differ in size: copy or download it again")
    return Loaded(np.ascontiguousarray(image), np.ascontiguousarray(label[0]).astype(np.uint8), Geometry())
