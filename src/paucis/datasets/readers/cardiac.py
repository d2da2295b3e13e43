"""Hearts: ACDC and the left atrium of 2018, as published and as the h5 files of the semi-supervised literature."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from paucis.data import h5files
from paucis.data.case import Geometry
from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Loaded, Scan, binary
from paucis.datasets.source import Source
from paucis.errors import PaucisError

ATRIUM_MM = 0.625
"""Spacing of the challenge's scans, which the h5 files do not carry."""


def acdc(source: Source) -> Found:
    """``patient001/patient001_frame01.nii.gz`` with ``patient001_frame01_gt.nii.gz``; the frames of ``Info.cfg``.

    ``Info.cfg`` names the frames of end diastole (``ED``) and end systole (``ES``), which have labels. Patients beyond
    100 are the challenge's test set: they have the role ``official-test`` in no split and are left out.
    """
    images = source.by_name(r"(patient\d{3}_frame\d{2})\.nii(?:\.gz)?")
    labels = source.by_name(r"(patient\d{3}_frame\d{2})_gt\.nii(?:\.gz)?")
    scans = []
    for path, match in source.match(r"(patient\d{3})/Info\.cfg"):
        if int(match[1][-3:]) > 100:
            continue
        for frame in _frames(path, source):
            name = f"{match[1]}_frame{frame:02}"
            if name not in images or name not in labels:
                source.wrong(path.parent / f"{name}.nii.gz", "it or its _gt is missing", "unpack the archive again")
                continue
            scans.append(Scan(name, (images[name],), (labels[name],), match[1]))
    return Found(scans)


def acdc_h5(source: Source) -> Found:
    """``patient001_frame01.h5`` with ``image`` (Z, Y, X) in [0, 1] and ``label``; files of slices are not needed."""
    found = source.by_name(r"(patient\d{3}_frame\d{2})\.(?:h5|hdf5)")
    scans = [Scan(name, (path,), (path,), name.split("_")[0], load=_stack) for name, path in found.items()]
    return Found(scans)


def atrium(source: Source) -> Found:
    """``CASE/lgemri.nrrd`` with ``CASE/laendo.nrrd``, 255 in the atrium."""
    images = {path.parent.name: path for path, _ in source.match(r"lgemri\.nrrd")}
    labels = {path.parent.name: path for path, _ in source.match(r"laendo\.nrrd")}
    source.unpaired(images, labels, images)
    pairs = [(name, images[name], labels[name]) for name in images if name in labels]
    return Found([Scan(name, (image,), (label,), name, load=binary) for name, image, label in pairs])


def atrium_h5(source: Source) -> Found:
    """``CASE/mri_norm2.h5`` with ``image`` (X, Y, Z), z-scored and cropped around the atrium, and ``label``."""
    files = {path.parent.name: path for path, _ in source.match(r"mri_norm2\.h5")}
    return Found([Scan(name, (path,), (path,), name, load=_standing) for name, path in files.items()])


def _frames(path: Path, source: Source) -> list[int]:
    text = path.read_text(encoding="utf-8", errors="replace")
    frames = [int(number) for number in re.findall(r"^E[DS]\s*:\s*(\d+)", text, re.MULTILINE)]
    if len(frames) != 2:
        source.wrong(path, "it does not name the frames ED and ES", "unpack the archive again")
    return frames


def _stack(scan: Scan) -> Loaded:
    """Slices first, as the file has them. It carries no geometry: 1.5 mm within the slice and 10 mm are nominal."""
    image, label = (h5files.read(scan.images[0], key).array for key in ("image", "label"))
    return _paired(scan, image, label, Geometry(spacing=(10.0, 1.5, 1.5)))


def _standing(scan: Scan) -> Loaded:
    """From (X, Y, Z), the order of the file, to (Z, Y, X)."""
    image, label = (h5files.read(scan.images[0], key).array.transpose(0, 3, 2, 1) for key in ("image", "label"))
    return _paired(scan, image, label, Geometry(spacing=(ATRIUM_MM,) * 3))


def _paired(scan: Scan, image: np.ndarray, label: np.ndarray, geometry: Geometry) -> Loaded:  # type: ignore[type-arg]
    if image.shape != label.shape:
        raise PaucisError(f"{scan.images[0]}: image and label differ in size: copy or download it again")
    return Loaded(np.ascontiguousarray(image), np.ascontiguousarray(label[0]), geometry)
