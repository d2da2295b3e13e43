"""Slices as small pictures to lay over each other: the image, masks in colors, outlines, and a map as a glow."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Gray = NDArray[np.float32]
Indices = NDArray[np.uint8]
Color = tuple[int, int, int]
Size = tuple[int, int]
"""Rows and columns of a picture."""

PIXELS = 320
"""Of the longer side of every picture."""

COLORS: tuple[Color, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (170, 68, 153),
    (221, 204, 119),
    (136, 204, 238),
    (153, 153, 51),
    (204, 102, 119),
    (68, 170, 153),
    (136, 34, 85),
)
"""Of the classes after the background, in turn. The first seven are the palette of M. Okabe and K. Ito, *Color
Universal Design*, 2008, the others of P. Tol, *Colour Schemes*, 2021: apart for every kind of color vision."""

UNKNOWN_COLOR: Color = (140, 140, 140)
GLOW = ((60, 0, 80), (160, 30, 90), (230, 90, 40), (255, 180, 30), (255, 250, 160))
"""Colors of a map from 0 to 1; what is near 0 is let through."""

_FILL, _VEIL, _LEVELS = 115, 90, 32  # opacity of masks and of what is not counted, of 255; steps of a glow
_EDGE = 5  # pixels: of the window that finds an outline of two pixels
_QUALITY = 78


def size_of(rows: int, columns: int, aspect: float) -> Size:
    """Rows and columns of the picture of a slice whose pixels are ``aspect`` times as high as wide."""
    tall, wide = rows * aspect, float(columns)
    scale = PIXELS / max(tall, wide)
    return max(1, round(tall * scale)), max(1, round(wide * scale))


def photograph(picture: Gray, size: Size) -> bytes:
    """A slice as WebP: gray (Y, X) or color (Y, X, 3), in [0, 1]."""
    bytes_ = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    image = Image.fromarray(bytes_).resize(_xy(size), Image.Resampling.BICUBIC)
    return _written(image, "WEBP", quality=_QUALITY, method=4)


def fill(mask: Indices, size: Size, unknown: int = 255) -> bytes:
    """A mask (Y, X) of class indices as PNG, half transparent in the colors of its classes."""
    return _indexed(_enlarged(mask, size), _FILL, unknown)


def outline(mask: Indices, size: Size, unknown: int = 255) -> bytes:
    """The inner border of every class of a mask (Y, X) as PNG, two pixels wide; a veil over what is not counted."""
    large = _enlarged(mask, size)
    window = {"size": _EDGE, "mode": "nearest"}
    border = ndimage.maximum_filter(large, **window) != ndimage.minimum_filter(large, **window)
    return _indexed(np.where(border | (large == unknown), large, 0).astype(np.uint8), 255, unknown)


def glow(values: Gray, size: Size) -> bytes:
    """A map (Y, X) in [0, 1] as PNG: the higher, the brighter and the less transparent."""
    image = Image.fromarray(np.clip(np.nan_to_num(values), 0, 1).astype(np.float32))
    large = np.asarray(image.resize(_xy(size), Image.Resampling.BILINEAR))
    levels = np.rint(large * (_LEVELS - 1)).astype(np.uint8)
    steps = np.linspace(0, 1, _LEVELS)
    stops = np.linspace(0, 1, len(GLOW))
    colors = np.stack([np.interp(steps, stops, [color[i] for color in GLOW]) for i in range(3)], axis=1)
    opacity = np.rint(255 * np.clip(2.5 * steps, 0, 0.8)).astype(int)
    return _palette(levels, [tuple(int(part) for part in color) for color in colors], opacity.tolist())


def color_of(label: int) -> Color:
    """Of a class index, 1 for the first class."""
    return COLORS[(label - 1) % len(COLORS)]


def _indexed(indices: Indices, opacity: int, unknown: int) -> bytes:
    colors = [(0, 0, 0), *(color_of(label) for label in range(1, 256))]
    alpha = [0, *[opacity] * 255]
    colors[unknown], alpha[unknown] = UNKNOWN_COLOR, _VEIL
    used = np.unique(indices)  # a palette of what is there: the file holds it whole
    place = np.zeros(256, np.uint8)
    place[used] = np.arange(len(used))
    return _palette(place[indices], [colors[value] for value in used], [alpha[value] for value in used])


def _palette(indices: Indices, colors: Sequence[tuple[int, ...]], opacity: Sequence[int]) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette([part for color in colors for part in color])
    return _written(image, "PNG", transparency=bytes(opacity), optimize=True)


def _enlarged(mask: Indices, size: Size) -> Indices:
    image = Image.fromarray(mask.astype(np.uint8)).resize(_xy(size), Image.Resampling.NEAREST)
    return np.asarray(image)


def _xy(size: Size) -> Size:
    return size[1], size[0]


def _written(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
