"""Color fundus: vessels, disc and cup, exudates, and the pictures of Kaggle's competition."""

from __future__ import annotations

import gzip
import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from paucis.data.case import Geometry, Volume
from paucis.data.formats import read_image
from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Loaded, Scan, binary, outline, painted
from paucis.datasets.source import Source
from paucis.errors import PaucisError

CHASE_TRAINS = 10
"""Subjects 1 to 10 of CHASE_DB1 train, both eyes."""


def kaggle_dr(source: Source) -> Found:
    """``10_left.jpeg`` and ``10_right.jpeg``; the number is the patient. No masks."""
    files = source.by_name(r"(\d+_(?:left|right))\.jpe?g")
    return Found([Scan(name, (path,), patient=name.split("_")[0]) for name, path in files.items()])


def chase(source: Source) -> Found:
    """``Image_01L.jpg`` with ``Image_01L_1stHO.png``, the outlines of the first observer."""
    images = source.by_name(r"(Image_\d{2}[LR])\.jpe?g")
    masks = source.by_name(r"(Image_\d{2}[LR])_1stHO\.png")
    source.unpaired(images, masks, images)
    scans = []
    for name, path in images.items():
        role = "train" if int(name[6:8]) <= CHASE_TRAINS else "test"
        if name in masks:
            scans.append(Scan(name, (path,), (masks[name],), name[:8], role, binary))
    return Found(scans)


def drive(source: Source, masks: str = r"(\d{2})_manual1\.gif") -> Found:
    """``training/images/21_training.tif`` with ``training/1st_manual/21_manual1.gif``; ``test`` likewise.

    Args:
        source: the unpacked archive.
        masks: RITE has those of vessels as ``vessel/21_training.png``.
    """
    labels = source.by_name(masks)
    scans = []
    for path, match in source.match(r"(\d{2})_(training|test)\.tif"):
        role = "train" if match[2] == "training" else "test"
        if match[1] in labels:
            scans.append(Scan(match[1], (path,), (labels[match[1]],), role=role, load=binary))
        else:
            source.wrong(path, "its label is missing", "add the first observer's masks")
    return Found(scans)


def hrf(source: Source) -> Found:
    """``images/01_dr.JPG``, ``01_g.jpg``, ``01_h.jpg`` with ``manual1/01_dr.tif``; _h healthy, _dr and _g not."""
    images = source.by_name(r"images/(\d{2}_(?:dr|g|h))\.jpe?g")
    masks = source.by_name(r"manual1/(\d{2}_(?:dr|g|h))\.tif")
    source.unpaired(images, masks, images)
    scans = []
    for name, path in images.items():
        role = "train" if int(name[:2]) <= 8 or name == "09_dr" else "test"
        if name in masks:
            scans.append(Scan(name, (path,), (masks[name],), role=role, load=binary))
    return Found(scans)


def stare(source: Source) -> Found:
    """``im0001.ppm`` with ``im0001.ah.ppm``, the outlines of the first observer, each perhaps as ``.gz``."""
    masks = source.by_name(r"(im\d{4})\.ah\.ppm(?:\.gz)?")
    images = {name: path for name, path in source.by_name(r"(im\d{4})\.ppm(?:\.gz)?").items() if name in masks}
    trains = ("im0001", "im0002", "im0003", "im0004", "im0005", "im0044", "im0077", "im0081", "im0082", "im0139")
    return Found(
        [
            Scan(name, (path,), (masks[name],), role="train" if name in trains else "test", load=_pixmaps)
            for name, path in images.items()
        ]
    )


def drishti(source: Source, structures: tuple[str, ...] | list[str] = ("OD", "cup")) -> Found:
    """``Training/Images/drishtiGS_002.png`` with ``SoftMap/drishtiGS_002_ODsegSoftmap.png``; ``Test`` likewise.

    A soft map counts observers: what half of the largest count outlined is taken. The cup is painted over the disc.
    """
    maps = [source.by_name(rf"(drishtiGS_\d{{3}})_{name}segSoftmap\.png") for name in structures]
    scans = []
    for path, match in source.match(r"(Training|Test)/.*?(drishtiGS_\d{3})\.png"):
        labels = [files[match[2]] for files in maps if match[2] in files]
        if len(labels) < len(maps):
            source.wrong(path, "a soft map of it is missing", "add the ground truth of its part")
            continue
        role = "train" if match[1].lower() == "training" else "test"
        values = tuple(range(1, len(maps) + 1))
        scans.append(Scan(match[2], (path,), tuple(labels), role=role, load=partial(painted, values=values)))
    return Found(scans)


def idrid(source: Source, target: str = "OD") -> Found:
    """``a. Training Set/IDRiD_01.jpg`` with ``IDRiD_01_OD.tif`` (disc) or ``IDRiD_01_EX.tif`` (hard exudates).

    Numbers to 54 train. A picture without exudates has no file of them: its mask is empty.
    """
    images = source.by_name(r"(IDRiD_\d{2})\.jpg")
    masks = source.by_name(rf"(IDRiD_\d{{2}})_{target}\.tif")
    if images and not masks:
        source.wrong(source.root, f"no mask IDRiD_01_{target}.tif lies in it", "add the segmentation's ground truth")
    return Found(
        [
            Scan(
                name,
                (path,),
                (masks[name],) if name in masks else (),
                role="train" if int(name[-2:]) <= 54 else "test",
                load=_perhaps,
            )
            for name, path in images.items()
        ]
    )


def references(source: Source) -> Found:
    """Folders of PNG masks without images, such as ``OCTA_vessel_mask`` and ``DSA_mask``: shapes to learn from."""
    scans = []
    for path, match in source.match(r"((?:OCTA|DSA)\w*)/([\w-]+)\.png"):
        scans.append(Scan(f"{match[1].split('_')[0]}_{match[2].split('_')[0]}", (path,), load=_shape))
    return Found(scans)


def _shape(scan: Scan) -> Loaded:
    image = read_image(scan.images)
    return Loaded(outline(scan.images[0], image)[None], None, image.geometry)


def _perhaps(scan: Scan) -> Loaded:
    loaded = binary(scan)
    empty = np.zeros(loaded.image.shape[1:], np.uint8)
    return loaded if scan.labels else loaded._replace(label=empty)


def _pixmaps(scan: Scan) -> Loaded:
    image, mask = (_pixmap(path) for path in (*scan.images, *scan.labels))
    if mask.array.shape[1:] != image.array.shape[1:]:
        raise PaucisError(f"{scan.labels[0]} has another size than its image: download it again")
    return Loaded(image.array, np.where(mask.array.max(0) > 127, 255, 0).astype(np.uint8), image.geometry)


def _pixmap(path: Path) -> Volume:
    """A PPM or PGM, perhaps gzip-compressed, as (C, 1, Y, X)."""
    try:
        packed = path.read_bytes()
        with Image.open(io.BytesIO(gzip.decompress(packed) if path.suffix.lower() == ".gz" else packed)) as image:
            array = np.asarray(image)
    except (OSError, EOFError, ValueError) as error:
        raise PaucisError(f"{path} cannot be read ({error}): download it again") from error
    array = array[..., None] if array.ndim == 2 else array
    return Volume(
        np.ascontiguousarray(np.moveaxis(array, -1, 0)[:, None]), Geometry(physical=False, suffix=".png", dims=2)
    )
