"""Chest X-rays: Montgomery, Shenzhen, ChestX-ray8, JSRT with the outlines of SCR, and SIIM-ACR."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry, Volume
from paucis.data.formats import read_image
from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Loaded, Scan, binary, paint, painted
from paucis.datasets.source import Source
from paucis.errors import PaucisError

FLAT = Geometry(physical=False, suffix=".png", dims=2)
IMG_SIDE = 2048
"""Pixels along each side of JSRT's raw images, which carry no header."""


def montgomery(source: Source) -> Found:
    """``CXR_png/MCUCXR_0001_0.png`` with ``ManualMask/leftMask`` and ``ManualMask/rightMask``."""
    return _two_lungs(source, r"CXR_png/(MCUCXR_\d{4}_[01])\.png", r"(MCUCXR_\d{4}_[01])\.png")


def _two_lungs(source: Source, images: str, masks: str) -> Found:
    files = source.by_name(images)
    sides = [source.by_name(rf"{side}Mask/{masks}") for side in ("left", "right")]
    scans = []
    for name, path in files.items():
        labels = [side[name] for side in sides if name in side]
        if len(labels) == 2:
            scans.append(Scan(name, (path,), tuple(labels), load=partial(painted, values=(255, 255))))
        else:
            source.wrong(path, "the mask of a lung is missing", "unpack the archive again")
    return Found(scans)


def shenzhen(source: Source) -> Found:
    """``CXR_png/CHNCXR_0001_0.png``; ``CHNCXR_0001_0_mask.png`` where there is one, for 566 of the 662."""
    masks = source.by_name(r"(CHNCXR_\d{4}_[01])_mask\.png")
    files = source.by_name(r"(CHNCXR_\d{4}_[01])\.png")
    return Found(
        [Scan(name, (path,), (masks[name],) if name in masks else (), load=binary) for name, path in files.items()]
    )


def chestxray8(source: Source) -> Found:
    """``images_001/images/00000001_000.png``; the first eight digits are the patient. No masks."""
    return Found(
        [Scan(name, (path,), patient=name[:8]) for name, path in source.by_name(r"(\d{8}_\d{3})\.png").items()]
    )


STRUCTURES = ("right lung", "left lung", "heart", "right clavicle", "left clavicle")


def jsrt(source: Source, structures: Sequence[str] = STRUCTURES, values: Sequence[int] = (1, 2, 3, 4, 5)) -> Found:
    """``JPCLN001.IMG`` (raw, 2048x2048, big-endian) with ``fold1/masks/heart/JPCLN001.gif`` and so on.

    Odd numbers are SCR's fold 1 and train, even ones test.

    Args:
        source: JSRT's images and SCR's masks in one folder; images saved as PNG are understood too.
        structures: folders of masks, painted over each other in their order.
        values: of each in the label.
    """
    images = source.by_name(r"(JPC[LN]N\d{3})\.(?:IMG|png)")
    masks = {name: source.by_name(rf"{name}/(JPC[LN]N\d{{3}})\.gif") for name in structures}
    scans = []
    for name, path in images.items():
        missing = [structure for structure, files in masks.items() if name not in files]
        if missing:
            source.wrong(path, f"SCR's masks of {', '.join(missing)} are missing", "unpack SCR's archive there too")
            continue
        labels = tuple(masks[structure][name] for structure in structures)
        role = "train" if int(name[-3:]) % 2 else "test"
        scans.append(Scan(name, (path,), labels, role=role, load=partial(_radiograph, values=tuple(values))))
    return Found(scans)


def _radiograph(scan: Scan, values: Sequence[int]) -> Loaded:
    """Bright where X-rays were stopped: the raw values run the other way. Halved to the 1024x1024 of SCR's masks."""
    path = scan.images[0]
    raw = path.suffix.lower() == ".img"
    image = Volume(_raw(path)[None, None], FLAT) if raw else read_image([path])
    return Loaded(image.array, paint(scan.labels, values, image), image.geometry, () if raw else (path,))


def _raw(path: Path) -> NDArray[np.uint8]:
    """8 bit by the image's own range, twice two pixels averaged.

    Raises:
        PaucisError: another length than 2048x2048 of two bytes each.
    """
    data = np.fromfile(path, ">u2")
    if data.size != IMG_SIDE**2 or path.stat().st_size != 2 * data.size:
        raise PaucisError(f"{path} is no raw image of {IMG_SIDE}x{IMG_SIDE}: copy or download it again")
    half = data.reshape(IMG_SIDE // 2, 2, IMG_SIDE // 2, 2).mean((1, 3), dtype=np.float64)
    low, high = float(half.min()), float(half.max())
    scaled: NDArray[np.uint8] = np.rint(255 * (high - half) / max(high - low, 1.0)).astype(np.uint8)
    return scaled


def siim(source: Source) -> Found:
    """``train-rle.csv`` and the DICOM files it names; the pictures with a pneumothorax only.

    A row is an image and the runs of one mask: how far from the last run's end, how long, down the columns; -1 is none.
    """
    tables = [path for path, _ in source.match(r"train-rle\.csv")]
    if not tables:
        return Found([])
    images = source.by_name(r"([\d.]+)\.dcm")
    runs: dict[str, list[str]] = {}
    with tables[0].open(newline="", encoding="utf-8-sig") as stream:
        for row in csv.reader(stream):
            if len(row) == 2 and row[1].strip() not in ("-1", "EncodedPixels"):
                runs.setdefault(row[0].strip(), []).append(row[1].strip())
    scans = []
    for name, masks in runs.items():
        if name in images:
            scans.append(Scan(name, (images[name],), (tables[0],), load=partial(_runs, masks=tuple(masks))))
        else:
            source.wrong(f"{name}.dcm", f"{tables[0].name} lists it and it is not there", "complete the download")
    return Found(scans)


def _runs(scan: Scan, masks: Sequence[str]) -> Loaded:
    image = read_image(scan.images).array
    label = np.zeros(image.shape[1:], np.uint8)
    for mask in masks:
        label[0, decode(mask, image.shape[-2:], scan.labels[0])] = 255
    return Loaded(image, label, FLAT)


def decode(runs: str, shape: Sequence[int], path: Path) -> NDArray[np.bool_]:
    """A mask (Y, X) of relative runs down the columns.

    Raises:
        PaucisError: an odd number of entries, or a run beyond the image.
    """
    height, width = shape
    flat = np.zeros(height * width, bool)
    numbers = np.array(runs.split(), np.int64).reshape(-1) if runs.replace(" ", "").isdigit() else np.zeros(1, np.int64)
    if len(numbers) % 2:
        raise PaucisError(f"{path}: '{runs[:20]}' is no row of runs: download it again")
    steps = numbers.cumsum()
    for start, end in zip(steps[::2], steps[1::2], strict=True):
        if end > flat.size:
            raise PaucisError(f"{path}: a run ends at {end}, beyond the {width}x{height} pixels: download it again")
        flat[start:end] = True
    mask: NDArray[np.bool_] = flat.reshape(width, height).T
    return mask
