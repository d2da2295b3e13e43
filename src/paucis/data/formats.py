"""Files to arrays and back, whatever their format: the one door to images and masks on disk.

Arrays are (C, Z, Y, X) in memory; Z is 1 for pictures. What a format cannot hold exactly is refused rather than bent.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data import dicom, h5files, pictures, volumes
from paucis.data.case import Geometry, Grid, Volume
from paucis.data.corners import corner_distance
from paucis.errors import PaucisError

SUFFIXES = tuple(
    sorted((*volumes.SUFFIXES, *pictures.SUFFIXES, *h5files.SUFFIXES, *dicom.SUFFIXES), key=len, reverse=True)
)
_CHANNEL_SHIFT = 0.1  # voxels that channels of a case may lie apart: what rounding of headers leaves
_CHANNEL = re.compile(r"_0000$")
_OF_DICOM = ".nii.gz"  # what masks and maps of DICOM series are written as, where no segmentation object is asked for


def suffix(path: Path) -> str:
    """The known suffix that ``path`` ends in, in lower case (``.nii.gz`` as one), or an empty text."""
    name = path.name.lower()
    return next((known for known in SUFFIXES if name.endswith(known)), "")


def bare(path: Path) -> str:
    """The file name without its suffix (``.nii.gz`` as one)."""
    if dicom.is_address(path):
        return dicom.name(path)
    known = suffix(path)
    return path.name[: -len(known)] if known else path.stem


def stem(path: Path) -> str:
    """A scan's name: the file name without its suffix and without the number of nnU-Net's first channel (``_0000``)."""
    return _CHANNEL.sub("", bare(path))


def read_image(paths: Sequence[Path]) -> Volume:
    """The image of a case.

    Args:
        paths: one file per channel, or one file that holds all channels (RGB, 4D NIfTI).

    Returns:
        The array (C, Z, Y, X) in the dtype of the files, and the geometry of the first file.

    Raises:
        PaucisError: a file is missing, empty, truncated or of an unknown format, or channels differ in size
            or place.
    """
    parts = [_read(path, label=False) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.array.shape[1:] != parts[0].array.shape[1:]:
            raise PaucisError(
                f"{path} has {_size(part)} voxels but channel {paths[0].name} has {_size(parts[0])}: "
                "resample all channels of a case to one grid"
            )
        apart = corner_distance(part.geometry, parts[0].geometry, part.array.shape[1:])
        if part.geometry.physical and apart > _CHANNEL_SHIFT * min(parts[0].geometry.spacing):
            raise PaucisError(
                f"{path} lies {apart:.3g} mm from channel {paths[0].name}: resample all channels of a case to one grid"
            )
    array = parts[0].array if len(parts) == 1 else np.concatenate([part.array for part in parts])
    return Volume(array, parts[0].geometry)


def read_grid(paths: Sequence[Path]) -> Grid:
    """Size and place of a case's image; of DICOM series the pixels are not read.

    Raises:
        PaucisError: as ``read_image``.
    """
    if _family(paths[0]) is dicom:
        return dicom.read_grid(paths[0])
    image = read_image(paths)
    return Grid(image.array.shape[1:], image.geometry)


def members(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or those of a DICOM series.

    Raises:
        PaucisError: a folder that holds none or several series.
    """
    return dicom.members(path) if dicom.is_address(path) else [path]


def read_label(path: Path, onto: Callable[[], Grid] | None = None) -> Volume:
    """The raw values of a mask, as integers (1, Z, Y, X).

    Masks stored as floats are taken when all values are whole; RGB masks when their channels are equal; how palette
    and 1-bit pictures are read is told in ``paucis.data.pictures``.

    Args:
        path: the file.
        onto: gives the grid of the image, onto which a DICOM segmentation, which holds marked slices only, is laid;
            other masks have their own.

    Raises:
        PaucisError: unreadable, JPEG (its values are not exact), fractional values, or colours.
    """
    volume = dicom.read_mask(path, onto) if _family(path) is dicom else _read(path, label=True)
    array = volume.array
    if len(array) > 1:
        if not (array == array[:1]).all():
            raise PaucisError(
                f"{path} is a mask of {len(array)} differing channels: save one channel that holds class numbers"
            )
        array = array[:1]
    if not np.issubdtype(array.dtype, np.integer):
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int32)
        if not np.array_equal(whole, array):
            raise PaucisError(f"{path} holds values that are not whole numbers: save the mask with class numbers")
        array = whole
    return Volume(array, volume.geometry)


def read_geometry(path: Path) -> Geometry:
    """Spacing, origin and direction of the file at ``path``; its voxels are not read.

    Raises:
        PaucisError: the file is missing or its header unreadable.
    """
    family = _family(path)
    if family is h5files:
        return h5files.geometry_of(path)
    geometry: Geometry = family.read_geometry(path)
    return geometry


def mask_suffix(geometry: Geometry) -> str:
    """What a mask of a scan ends in: ``.png`` for pictures, ``.nii.gz`` for DICOM, else the scan's own suffix."""
    if geometry.suffix in dicom.SUFFIXES:
        return _OF_DICOM
    return ".png" if geometry.suffix in pictures.SUFFIXES and geometry.dims == 2 else geometry.suffix


def map_suffix(geometry: Geometry) -> str:
    """What a float map of a scan ends in: ``.tiff`` for pictures, ``.nii.gz`` for DICOM, else the scan's own suffix."""
    if geometry.suffix in dicom.SUFFIXES:
        return _OF_DICOM
    return ".tiff" if geometry.suffix in pictures.SUFFIXES else geometry.suffix


def write_mask(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write raw mask values in the scan's geometry and format.

    The file appears under its name only when it is complete.

    Args:
        path: ends as ``mask_suffix(geometry)`` says.
        array: integers (Z, Y, X), stored in the smallest integer type that holds them.
        geometry: of the scan.

    Raises:
        PaucisError: the disk is full or the folder cannot be written.
    """
    small = array.astype(np.min_scalar_type(int(array.max(initial=0))))
    if array.min(initial=0) < 0:
        small = array.astype(np.int16 if abs(array).max() < 2**15 else np.int32)
    _write(path, small, replace(geometry, suffix=suffix(path)), "label", read_label)


def write_map(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write a float32 map (Z, Y, X) in the scan's geometry and format; as ``write_mask`` otherwise.

    Args:
        path: ends as ``map_suffix(geometry)`` says (h5: under the key ``map``).
        array: (Z, Y, X).
        geometry: of the scan.

    Raises:
        PaucisError: the disk is full or the folder cannot be written.
    """
    _write(path, array.astype(np.float32), replace(geometry, suffix=suffix(path)), "map", read_map)


def read_map(path: Path) -> Volume:
    """A map that ``write_map`` wrote, as (1, Z, Y, X).

    Raises:
        PaucisError: unreadable.
    """
    return h5files.read(path, "map") if _family(path) is h5files else _read(path, label=False)


def _read(path: Path, label: bool) -> Volume:
    family = _family(path)
    if family is h5files:
        return h5files.read(path, "label" if label else "image")
    if family is pictures and label:
        return pictures.read_mask(path)
    volume: Volume = family.read(path)
    return volume


def _family(path: Path) -> Any:
    """The module that reads a file, once it is known to be there and not empty."""
    if dicom.is_address(path):
        return dicom
    if not path.is_file():
        raise PaucisError(f"{path} does not exist: check the path")
    if path.stat().st_size == 0:
        raise PaucisError(f"{path} is empty (0 bytes): copy or download it again, or remove it")
    return _family_of(path)


def _family_of(path: Path) -> Any:
    known = suffix(path)
    for family in (volumes, pictures, h5files, dicom):
        if known in family.SUFFIXES:
            return family
    if dicom.has_magic(path):
        return dicom
    raise PaucisError(f"{path} is of an unknown format: paucis reads {', '.join(sorted(SUFFIXES))}")


def write_segmentation(
    path: Path,
    array: NDArray[Any],
    source: Path,
    classes: Sequence[str],
    codes: Mapping[str, Any],
) -> None:
    """Write class indices (Z, Y, X) as a DICOM segmentation of the series ``source``; as ``write_mask`` otherwise.

    Raises:
        PaucisError: the scan is no DICOM series, or as ``write_mask``.
    """
    if _family(source) is not dicom:
        raise PaucisError(f"{source} is no DICOM scan, which a DICOM segmentation must refer to: use --format own")
    _complete(
        path,
        lambda draft: dicom.write_segmentation(draft, array, source, classes, codes),
        lambda draft: np.array_equal(read_label(draft, lambda: dicom.read_grid(source)).array[0], array),
    )


def _write(path: Path, array: NDArray[Any], geometry: Geometry, key: str, read_back: Callable[[Path], Volume]) -> None:
    family = _family_of(path)

    def write(draft: Path) -> None:
        if family is volumes:
            volumes.write(draft, array, geometry)
        elif family is h5files:
            h5files.write(draft, array, key)
        else:
            pictures.write(draft, array)

    _complete(path, write, lambda draft: np.array_equal(read_back(draft).array[0], array, equal_nan=key == "map"))


def _complete(path: Path, write: Callable[[Path], None], is_same: Callable[[Path], bool]) -> None:
    """Write into a folder beside the target, read back, and rename: libraries do not all report a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            write(draft)
            if not _holds(draft, is_same):
                raise RuntimeError("what was written reads back differently")
            for part in sorted(Path(folder).iterdir(), key=lambda part: part == draft):  # headers after their data
                part.replace(path.parent / part.name)
    except (OSError, RuntimeError) as error:
        raise _unwritable(path, error) from error


def _holds(draft: Path, is_same: Callable[[Path], bool]) -> bool:
    try:
        return is_same(draft)
    except PaucisError:
        return False


def _unwritable(path: Path, error: Exception) -> PaucisError:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    with suppress(OSError):
        full = full or shutil.disk_usage(path.parent).free < 1 << 16
    if full:
        return PaucisError(f"{path} cannot be written, the disk is full: free space or choose another --out")
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return PaucisError(f"{path} cannot be written ({reason}): check the folder's permissions and space")
    return PaucisError(f"{path} cannot be written (it came back damaged): check the disk's space and permissions")


def _size(volume: Volume) -> str:
    return "x".join(str(size) for size in volume.array.shape[1:])
