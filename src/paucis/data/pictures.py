"""Pictures: PNG, TIFF, BMP, GIF and JPEG, with 16 bit kept and palettes read for what they mean.

How a mask with few colours is stored differs from tool to tool. What is taken for its values:

- 1-bit masks: 0 and 1, whatever the bits stand for as gray.
- palette masks whose palette is gray throughout: the gray value that a viewer shows. Files of one set may order such
  palettes differently (some start with white), the shown gray is what they agree on.
- palette masks with any colour in the palette: the palette index, as annotation tools and PASCAL VOC write them.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray
from PIL import Image

from paucis.data.case import Geometry, Volume
from paucis.errors import PaucisError

JPEG = (".jpg", ".jpeg")
TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".bmp", ".gif", *TIFF, *JPEG)
_PLAIN = ("1", "L", "RGB", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ADD_ALPHA = {"LA": 1, "RGBA": 3}
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


class _Raster(NamedTuple):
    """A decoded picture (Z, Y, X, C) and its palette (entries, 3), if it has one."""

    array: NDArray[Any]
    palette: NDArray[Any] | None = None


def read(path: Path) -> Volume:
    """The picture as (C, Z, Y, X): colour palettes expanded to RGB, gray ones to one channel, alpha dropped.

    Z is 1 but for TIFF stacks. Orientation tags of cameras are ignored, for images and masks alike.

    Raises:
        PaucisError: missing, truncated, damaged, animated, or of a kind that cannot be read without loss.
    """
    raster = _decode(path)
    array = raster.array
    if raster.palette is not None:
        colors = raster.palette[:, :1] if _is_gray(raster.palette) else raster.palette
        array = colors[array[..., 0]]
    return _volume(array, path)


def read_mask(path: Path) -> Volume:
    """The mask's values as (C, Z, Y, X); see above for palettes and 1-bit files.

    Raises:
        PaucisError: as ``read``, and for JPEG, whose compression changes values.
    """
    if path.suffix.lower() in JPEG:
        raise PaucisError(f"{path} is a JPEG mask, whose values are not exact: export it again as PNG")
    raster = _decode(path)
    array = raster.array
    if raster.palette is not None and _is_gray(raster.palette):
        array = raster.palette[:, :1][array[..., 0]]
    return _volume(array, path)


def read_geometry(path: Path) -> Geometry:
    """Pixels without a place in space; three-dimensional for a TIFF stack of several pages."""
    depth = 1
    if path.suffix.lower() in TIFF:
        try:
            with tifffile.TiffFile(path) as file:
                depth = _depth(file.series[0], path)
        except (OSError, tifffile.TiffFileError, ValueError, IndexError, struct.error) as error:
            raise _unreadable(path, error) from error
    return _geometry(path, depth)


def write(path: Path, array: NDArray[Any], compression: bool = True) -> None:
    """Write (Z, Y, X): PNG for one slice, TIFF (deflate) for floats and stacks."""
    if path.suffix.lower() in TIFF:
        axes = "ZYX" if array.shape[0] > 1 else "YX"
        pages = array if array.shape[0] > 1 else array[0]
        tifffile.imwrite(
            path, pages, photometric="minisblack", compression="zlib" if compression else None, metadata={"axes": axes}
        )
    else:
        Image.fromarray(array[0]).save(path)


def _volume(array: NDArray[Any], path: Path) -> Volume:
    return Volume(np.ascontiguousarray(np.moveaxis(array, -1, 0)), _geometry(path, array.shape[0]))


def _geometry(path: Path, depth: int) -> Geometry:
    return Geometry(physical=False, suffix=path.suffix.lower(), dims=3 if depth > 1 else 2)


def _is_gray(palette: NDArray[Any]) -> bool:
    return bool((palette == palette[:, :1]).all())


def _unreadable(path: Path, error: Exception) -> PaucisError:
    reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
    return PaucisError(f"{path} cannot be read ({reason}): copy or download it again, or remove it")


def _decode(path: Path) -> _Raster:
    try:
        if path.suffix.lower() in TIFF:
            return _decode_tiff(path)
        if _is_deep_color_png(path):
            return _through_itk(path)
        if _is_two_gray_bmp(path):
            return _Raster(_through_itk(path).array[..., :1])
        return _through_pillow(path)
    except PaucisError:
        raise
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        IndexError,
        RuntimeError,
        struct.error,
        tifffile.TiffFileError,
        Image.DecompressionBombError,
    ) as error:
        raise _unreadable(path, error) from error


def _is_deep_color_png(path: Path) -> bool:
    """A 16-bit PNG in colour, which Pillow would cut to 8 bit."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26 and head[24] == 16 and head[25] in (2, 4, 6)


def _is_two_gray_bmp(path: Path) -> bool:
    """A BMP of 8 bits a pixel with black and white for palette, which Pillow takes for one of 1 bit a pixel."""
    with path.open("rb") as stream:
        head = stream.read(62)
    if head[:2] != b"BM" or len(head) < 62 or struct.unpack_from("<H", head, 28)[0] != 8:
        return False
    colors, header = struct.unpack_from("<I", head, 46)[0], struct.unpack_from("<I", head, 14)[0]
    return bool(colors == 2 and header == 40 and head[54:57] == b"\0\0\0" and head[58:61] == b"\xff\xff\xff")


def _through_itk(path: Path) -> _Raster:
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    components = array.shape[-1] if array.ndim == 3 else 1
    array = array.reshape(1, *array.shape[:2], components)
    return _Raster(array[..., : {2: 1, 4: 3}.get(components, components)])


def _through_pillow(path: Path) -> _Raster:
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise PaucisError(f"{path} holds {image.n_frames} frames: save each as a file of its own, or as one volume")
        palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
        if palette is not None:
            indices = np.asarray(image) if image.mode == "P" else np.asarray(image)[..., 0]
            colors = np.zeros((256, 3), np.uint8)
            colors.flat[: len(palette)] = palette
            return _Raster(indices[None, ..., None], colors[: max(len(palette) // 3, int(indices.max()) + 1)])
        array = np.asarray(image if image.mode in (*_PLAIN, *_ADD_ALPHA) else image.convert("RGB"))
        mode = image.mode
    array = array[..., None] if array.ndim == 2 else array
    array = array[..., : _ADD_ALPHA.get(mode, array.shape[-1])]
    if mode == "I" and path.suffix.lower() == ".png":  # older Pillow opens 16-bit gray as 32-bit
        array = array.astype(np.uint16)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return _Raster(array[None].astype(array.dtype.newbyteorder("="), copy=False))


def _decode_tiff(path: Path) -> _Raster:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        depth = _depth(series, path)
        page = series.keyframe
        if page.photometric in (
            tifffile.PHOTOMETRIC.SEPARATED,
            tifffile.PHOTOMETRIC.YCBCR,
            tifffile.PHOTOMETRIC.CIELAB,
        ):
            return _compressed_tiff(path, page, depth)
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _compressed_tiff(path, page, depth)
        colors = page.colormap
        height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
        if samples > 1 and series.axes.index("S") < series.axes.index("Y"):
            array = np.moveaxis(array, series.axes.index("S"), -1)
        array = array.reshape(depth, height, width, samples)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        array = ~array if array.dtype == bool else np.iinfo(array.dtype).max - array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if colors is not None:
        return _Raster(array, (colors.T >> 8).astype(np.uint8))
    alpha = sum(kind in _ALPHA for kind in page.extrasamples)
    return _Raster(array[..., : samples - alpha])


def _compressed_tiff(path: Path, page: Any, depth: int) -> _Raster:
    """LZW, JPEG and other color spaces, which tifffile leaves to others."""
    if page.bitspersample <= 8 and depth == 1:
        return _through_pillow(path)
    if depth == 1:
        return _through_itk(path)
    raise PaucisError(f"{path} is a {page.compression.name}-compressed stack: save it uncompressed or with deflate")


def _depth(series: Any, path: Path) -> int:
    """Number of slices of a TIFF, whose axes may be YX, one of the names for depth before YX, and samples S."""
    sizes = {axis: size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS"}
    stacked = [size for size in sizes.values() if size > 1]
    if len(stacked) > 1 or any(axis in "TC" and size > 1 for axis, size in sizes.items()):
        raise PaucisError(f"{path} has axes {series.axes}: save one picture or one stack of slices per file")
    return int(stacked[0]) if stacked else 1
