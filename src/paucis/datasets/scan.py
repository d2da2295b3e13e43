"""A scan as its publisher distributes it, and what becomes of it in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.data import formats, pictures
from paucis.data.case import Geometry, Volume
from paucis.data.corners import corner_distance
from paucis.errors import PaucisError

SHIFT = 0.1
"""Voxels that a label may lie apart from its image: what rounding of headers leaves."""


class Loaded(NamedTuple):
    """A scan in memory.

    Attributes:
        image: (C, Z, Y, X).
        label: (Z, Y, X) whole numbers, or None.
        geometry: of both.
        files: the image files, where ``image`` is still exactly what they hold; else empty.
    """

    image: NDArray[Any]
    label: NDArray[Any] | None
    geometry: Geometry
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Scan:
    """Where one scan lies; nothing is decoded before ``load``.

    Attributes:
        name: unique in the dataset.
        images: image files, one per channel or one of all.
        labels: label files, as many as the loader wants.
        patient: whose it is; the scan's own name where nothing is known.
        role: ``train``, ``val`` or ``test`` where the publisher says so.
        load: reads it.
    """

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...] = ()
    patient: str = ""
    role: str | None = None
    load: Callable[[Scan], Loaded] | None = None

    def read(self) -> Loaded:
        """The scan, decoded.

        Raises:
            PaucisError: a file is missing or damaged, or image and label do not fit.
        """
        return (self.load or plain)(self)


def plain(scan: Scan) -> Loaded:
    """Image and label as any viewer shows them; the values of the label are kept.

    Raises:
        PaucisError: unreadable, or a label of another size or place than its image.
    """
    image = formats.read_image(scan.images)
    return Loaded(image.array, label_of(scan.labels[0], image) if scan.labels else None, image.geometry, scan.images)


def binary(scan: Scan) -> Loaded:
    """Image and one mask of two values, whatever they are: what lies above half of the largest is 255, the rest 0."""
    image = formats.read_image(scan.images)
    label = outline(scan.labels[0], image) if scan.labels else None
    return Loaded(image.array, label, image.geometry, scan.images)


def painted(scan: Scan, values: Sequence[int]) -> Loaded:
    """Image and several masks of two values, painted over each other in their order with these ``values``."""
    image = formats.read_image(scan.images)
    return Loaded(image.array, paint(scan.labels, values, image), image.geometry, scan.images)


def paint(files: Sequence[Path], values: Sequence[int], image: Volume) -> NDArray[Any] | None:
    """One label of several masks, the later over the earlier; None without masks."""
    if not files:
        return None
    label = np.zeros(image.array.shape[1:], np.uint8)
    for file, value in zip(files, values, strict=True):
        label[outline(file, image) > 0] = value
    return label


def outline(path: Path, image: Volume) -> NDArray[Any]:
    """A mask of two values as 0 and 255; JPEG is taken here, since half of the range is far from its ringing.

    Raises:
        PaucisError: unreadable, or of another size than its image.
    """
    if formats.suffix(path) in pictures.JPEG:
        array = formats.read_image([path]).array.max(0)
    else:
        array = formats.read_label(path).array[0]
    _same_size(path, array, image)
    return np.where(array > int(array.max(initial=0)) / 2, 255, 0).astype(np.uint8)


def label_of(path: Path, image: Volume) -> NDArray[Any]:
    """The raw values of a label on the grid of its image.

    Raises:
        PaucisError: unreadable, or of another size or place than its image.
    """
    label = formats.read_label(path)
    _same_size(path, label.array[0], image)
    if label.geometry.physical and image.geometry.physical:
        apart = corner_distance(label.geometry, image.geometry, image.array.shape[1:])
        if apart > SHIFT * min(image.geometry.spacing):
            raise PaucisError(f"{path} lies {apart:.3g} mm from its image: take image and label of one release")
    array: NDArray[Any] = label.array[0]
    return array


def _same_size(path: Path, array: NDArray[Any], image: Volume) -> None:
    if array.shape != image.array.shape[1:]:
        sizes = ["x".join(map(str, shape)) for shape in (array.shape, image.array.shape[1:])]
        raise PaucisError(f"{path} has {sizes[0]} voxels and its image {sizes[1]}: take image and label of one release")
