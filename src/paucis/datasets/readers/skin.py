"""Dermoscopy: the ISIC challenges of 2016 to 2018, and PH2."""

from __future__ import annotations

from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Scan, binary
from paucis.datasets.source import Source

_PART = {"training": "train", "train": "train", "validation": "val", "test": "test"}


def isic(source: Source, parts: tuple[str, ...] | list[str] = ("training", "test")) -> Found:
    """``ISIC_0000000.jpg`` and ``ISIC_0000000_segmentation.png``, in folders whose names say Training or Test.

    ``_superpixels.png`` and tables beside them are not read. Masks named as their pictures are understood too.

    Args:
        source: the unpacked archives of one year.
        parts: of the challenge that are taken: ``training``, ``validation``, ``test``; in a folder that names none,
            pictures count as ``training``.
    """
    masks = source.by_name(r"(ISIC_\d{7})(?:_segmentation)?\.png")
    scans = []
    for name, path in source.by_name(r"(ISIC_\d{7})\.jpe?g").items():
        part = _part("/".join(path.relative_to(source.root).parts[:-1]))
        if part not in parts:
            continue
        if name not in masks:
            source.wrong(path, "its mask is missing", "add the ground truth of the same part")
            continue
        scans.append(Scan(name, (path,), (masks[name],), role=_PART[part], load=binary))
    return Found(scans)


def ph2(source: Source, training: bool = True) -> Found:
    """``IMD002_Dermoscopic_Image/IMD002.bmp`` and ``IMD002_lesion/IMD002_lesion.bmp``; all of it tests.

    Args:
        source: the unpacked archive; with ``training`` the 900 training pictures of ISIC 2016 must lie there as well.
        training: take those for training, as the literature does.
    """
    masks = source.by_name(r"(IMD\d{3})_lesion\.bmp")
    images = source.by_name(r"(IMD\d{3})\.bmp")
    source.unpaired(images, masks, images)
    scans = [
        Scan(name, (path,), (masks[name],), role="test", load=binary) for name, path in images.items() if name in masks
    ]
    if not scans:
        return Found([])
    train = isic(source, ["training"]).scans if training else []
    if training and not train:
        source.wrong(source.root, "the training part of ISIC 2016 does not lie in it", "unpack it there too")
    return Found(scans + train)


def _part(folder: str) -> str:
    lower = folder.lower()
    return next((part for part in ("validation", "test") if part in lower), "training")
