"""Preprocessing of the literature, one step a function of a scan in memory; a protocol is a list of them.

In ``table.yaml``: ``steps: [{window: [-125, 275]}, {resample: 1.0}, {crop: {margin: 25}}]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paucis.data.case import Geometry
from paucis.data.preparation import resample as interpolate
from paucis.datasets.scan import Loaded
from paucis.datasets.splits import digest
from paucis.errors import PaucisError


class LeftOut(Exception):
    """A scan that a protocol does not want, which is no fault of its source."""


FULL = np.ones((3, 3, 3), bool)


def apply(steps: Sequence[Mapping[str, Any]], scan: Loaded, name: str) -> Loaded:
    """The scan after every step in its order; ``name`` seeds what is drawn.

    Raises:
        PaucisError: a scan that a step cannot work with.
    """
    for step in steps:
        ((kind, content),) = step.items()
        scan = STEPS[kind](scan, content, name)
    return scan


def window(scan: Loaded, bounds: Sequence[float], name: str) -> Loaded:
    """Clips intensities (HU) to ``[low, high]``; their unit is kept."""
    return scan._replace(image=np.clip(scan.image, bounds[0], bounds[1]).astype(np.float32), files=())


def zscore(scan: Loaded, _: Any, name: str) -> Loaded:
    """Each channel minus its mean, divided by its standard deviation, over the whole scan as it is then."""
    image = scan.image.astype(np.float32)
    mean, deviation = image.mean((1, 2, 3), keepdims=True), image.std((1, 2, 3), keepdims=True)
    return scan._replace(image=(image - mean) / np.maximum(deviation, 1e-8), files=())


def resample(scan: Loaded, spacing: float, name: str) -> Loaded:
    """To one ``spacing`` in mm along all axes: images linear, smoothed where they shrink, labels nearest."""
    old = scan.image.shape[1:]
    shape = [max(1, round(size * mm / spacing)) for size, mm in zip(old, scan.geometry.spacing, strict=True)]
    label = None if scan.label is None else _nearest(scan.label, shape)
    image = interpolate(np.ascontiguousarray(scan.image, dtype=np.float32), shape)
    return Loaded(image, label, _regridded(scan.geometry, old, shape))


def crop(scan: Loaded, content: Mapping[str, Any], name: str) -> Loaded:
    """Around the label, which a scan to be predicted does not have: figures on such crops are not those of use.

    ``margin`` voxels on both sides of the label's box, or one number drawn from ``[low, high]`` for each side; along
    ``axes`` (of ``zyx``, all by default); where the box is smaller than ``least``, half of what is missing is added to
    both sides (voxels along Z, Y, X).

    Raises:
        PaucisError: no label, or an empty one.
    """
    if scan.label is None or not scan.label.any():
        raise PaucisError("its label is empty, and this protocol crops around it: choose another --protocol")
    draw = np.random.default_rng(int(digest(name)[:16], 16))
    margin = np.broadcast_to(np.asarray(content["margin"]), (2,))
    axes, least = content.get("axes", "zyx"), content.get("least", (0, 0, 0))
    box = []
    for axis, places in enumerate(np.nonzero(scan.label)):
        size, low, high = scan.label.shape[axis], int(places.min()), int(places.max()) + 1
        if "zyx"[axis] in axes:
            short = max(least[axis] - (high - low), 0) // 2
            sides = draw.integers(margin[0], margin[1] + 1, 2) + short
            box.append(slice(max(low - int(sides[0]), 0), min(high + int(sides[1]), size)))
        else:
            box.append(slice(0, size))
    return _cut(scan, box)


def view(scan: Loaded, content: Mapping[str, Any], name: str) -> Loaded:
    """To the field of view of a fundus camera: the largest 8-connected part where any channel exceeds ``over``.

    Its box is enlarged by ``margin`` pixels.

    Raises:
        LeftOut: the field is smaller than the share ``least`` of the picture.
        PaucisError: there is none.
    """
    parts, count = ndimage.label((scan.image > content["over"]).any(0), FULL)
    sizes = np.bincount(parts.ravel())[1:]
    if count == 0:
        raise PaucisError(f"nothing of it is brighter than {content['over']}: download it again")
    if sizes.max() < content.get("least", 0) * parts.size:
        raise LeftOut
    field = parts == int(sizes.argmax()) + 1
    margin = content["margin"]
    box = [slice(0, 1)]
    for axis in (1, 2):
        places = np.nonzero(field)[axis]
        box.append(slice(max(int(places.min()) - margin, 0), min(int(places.max()) + 1 + margin, field.shape[axis])))
    return _cut(scan, box)


def size(scan: Loaded, content: Mapping[str, Any], name: str) -> Loaded:
    """Pictures ``to`` ``[height, width]``: images linear, smoothed where they shrink; labels of two values linear and
    then set ``above`` 0.3 (or another share), so that thin vessels survive, labels of more values nearest.
    """
    wanted, old = [scan.image.shape[1], *content["to"]], scan.image.shape[1:]
    image = interpolate(np.ascontiguousarray(scan.image, dtype=np.float32), wanted)
    if np.issubdtype(scan.image.dtype, np.integer):
        kind = np.iinfo(scan.image.dtype)
        image = np.clip(np.rint(image), kind.min, kind.max)
    label = scan.label
    if label is not None:
        values = np.unique(label)
        label = _nearest(label, wanted) if len(values) > 2 else _thin(label, wanted, content.get("above", 0.3))
    return Loaded(image.astype(scan.image.dtype), label, _regridded(scan.geometry, old, wanted))


def gray(scan: Loaded, _: Any, name: str) -> Loaded:
    """One channel: the luma of colored pictures (ITU-R BT.601), in 8 bits."""
    if len(scan.image) == 1:
        return scan
    weights = np.array([0.299, 0.587, 0.114], np.float32).reshape(3, 1, 1, 1)
    return scan._replace(image=np.rint((scan.image * weights).sum(0, keepdims=True)).astype(np.uint8), files=())


def relabel(scan: Loaded, values: Mapping[int, int], name: str) -> Loaded:
    """Other label values; what is not listed becomes background."""
    if scan.label is None:
        return scan
    label = np.zeros(scan.label.shape, np.uint8)
    for old, new in values.items():
        label[scan.label == old] = new
    return scan._replace(label=label)


def _thin(label: NDArray[Any], shape: Sequence[int], above: float) -> NDArray[Any]:
    top = label.max(initial=0)
    share = interpolate((label == top)[None].astype(np.float32), shape)[0]
    return np.where(share > above, top, 0).astype(label.dtype)


def _nearest(label: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    places = [
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(int), old - 1)
        for new, old in zip(shape, label.shape, strict=True)
    ]
    return label[np.ix_(*places)]


def _regridded(geometry: Geometry, old: Sequence[int], new: Sequence[int]) -> Geometry:
    """The geometry of the same extent in other voxels."""
    if not geometry.physical:
        return geometry
    spacing = [mm * was / now for mm, was, now in zip(geometry.spacing, old, new, strict=True)]
    shift = [(now - was) / 2 for was, now in zip(geometry.spacing, spacing, strict=True)]
    return _moved(replace(geometry, spacing=(spacing[0], spacing[1], spacing[2])), shift)


def _cut(scan: Loaded, box: Sequence[slice]) -> Loaded:
    place = (slice(None), *box)
    shift = [part.start * mm for part, mm in zip(box, scan.geometry.spacing, strict=True)]
    geometry = _moved(scan.geometry, shift) if scan.geometry.physical else scan.geometry
    return Loaded(scan.image[place], None if scan.label is None else scan.label[place[1:]], geometry)


def _moved(geometry: Geometry, shift: Sequence[float]) -> Geometry:
    """The origin moved by mm along the array's (Z, Y, X)."""
    origin = np.array(geometry.origin) + np.reshape(geometry.direction, (3, 3)) @ np.array(shift[::-1])
    return replace(geometry, origin=(float(origin[0]), float(origin[1]), float(origin[2])))


STEPS: dict[str, Callable[[Loaded, Any, str], Loaded]] = {
    "window": window,
    "zscore": zscore,
    "resample": resample,
    "crop": crop,
    "view": view,
    "size": size,
    "gray": gray,
    "relabel": relabel,
}
