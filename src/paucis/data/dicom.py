"""DICOM as one of the formats: what may stand for a scan, and the door to what reads and writes it.

A scan is named by a file (all its frames), by a folder that holds one series of images at any depth, or, where a
folder holds several, by ``FOLDER#SERIES-INSTANCE-UID``. A mask is a segmentation object, whose segment numbers
``FILE#1=2,2=1`` renumbers, or an image of class numbers.

pydicom and highdicom are an extra of the package, and loaded when a DICOM file is met.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from paucis.data.case import Geometry, Grid, Volume
from paucis.errors import PaucisError

if TYPE_CHECKING:
    from paucis.data import dicom_files as _files
    from paucis.data.dicom_planes import Plane
    from paucis.data.dicom_segments import Segment

TOLERANCE = "PAUCIS_SLICE_TOLERANCE"
"""Environment variable: how far in mm a slice may lie from the regular grid. It reaches processes that read, too."""
SUFFIXES = (".dcm", ".dicom", ".ima")
_SERIES = re.compile(r"^(.+)#([0-2](?:\.\d+)+)$")
_VALUES = re.compile(r"^(.+)#(\d+=\d+(?:,\d+=\d+)*)$")


class UnfitSourceError(PaucisError):
    """A series lacks what a segmentation of it must refer to."""


def fits(path: Path) -> bool:
    """Whether a path is for this module: an address, a folder, or a file that begins as DICOM files do."""
    return is_address(path) or path.suffix.lower() in SUFFIXES or has_magic(path)


def has_magic(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_address(path: Path) -> bool:
    """Whether a path is one of this module's and may be no file: a folder, a series of one, or renumbered segments."""
    return path.is_dir() or _match(_SERIES, path) is not None or _match(_VALUES, path) is not None


def address(series: _files.Series) -> Path:
    """The path that stands for a series: its file, its folder, or folder and UID where others lie there too."""
    if len(series.instances) == 1:
        alone = _modules().files.index(series.folder)
        if len(alone.images) > 1 or not series.first.placed:
            return series.first.path
        return series.folder
    if len(_modules().files.index(series.folder).images) == 1:
        return series.folder
    return Path(f"{series.folder}#{series.uid}")


def name(path: Path) -> str:
    """A case name for what a path stands for: the folder's or file's name, with a digest where there are several."""
    if match := _match(_SERIES, path):
        return f"{Path(match[1]).resolve().name}_{_modules().files.short_name(match[2])}"
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def members(path: Path) -> list[Path]:
    """The files that a path stands for, in the order of their names.

    Raises:
        PaucisError: nothing there, or several series.
    """
    if match := _match(_VALUES, path):
        return [Path(match[1])]
    if not is_address(path):
        return [path]
    return sorted(instance.path for instance in _series(path).instances)


def read(path: Path) -> Volume:
    """The scan as (C, Z, Y, X) in the modality's units, slices in the order of their place.

    Raises:
        PaucisError: no or several series, slices that make no regular grid, or pixels that cannot be decoded.
    """
    planes, geometry = _stacked(path)
    return Volume(_modules().pixels.voxels(planes), geometry)


def read_numbered(path: Path) -> tuple[Volume, tuple[int | None, ...]]:
    """As ``read``, and the Instance Number of each slice, by which some publishers order labels.

    Raises:
        PaucisError: as ``read``.
    """
    planes, geometry = _stacked(path)
    return Volume(_modules().pixels.voxels(planes), geometry), tuple(plane.number for plane in planes)


def read_grid(path: Path) -> Grid:
    """Size and place of a scan, from its headers.

    Raises:
        PaucisError: as ``read``, but for pixels.
    """
    planes, geometry = _stacked(path)
    return Grid((len(planes), *planes[0].size), geometry)


def read_geometry(path: Path) -> Geometry:
    """As ``read_grid``, the geometry alone."""
    return read_grid(path).geometry


def read_mask(path: Path, onto: Callable[[], Grid] | None = None) -> Volume:
    """The values of a mask, (1, Z, Y, X).

    Args:
        path: a segmentation object, or an image of class numbers.
        onto: gives the grid that a segmentation is laid onto; None takes the smallest one that holds its frames.

    Raises:
        PaucisError: damaged, or not on that grid.
    """
    file, values = _renumbered(path)
    if not is_segmentation(file):
        return read(file)
    segments = _modules().segments
    opened = segments.open_segmentation(file)
    mask: Volume = segments.lay(opened, onto() if onto else segments.own_grid([opened]), values)
    return mask


def read_masks(paths: Sequence[Path]) -> list[Volume]:
    """Several segmentations on the smallest grid that holds the frames of all.

    Raises:
        PaucisError: damaged, or on different grids.
    """
    segments = _modules().segments
    files = [_renumbered(path) for path in paths]
    opened = [segments.open_segmentation(file) for file, _ in files]
    grid = segments.own_grid(opened)
    return [segments.lay(one, grid, values) for one, (_, values) in zip(opened, files, strict=True)]


def is_segmentation(path: Path) -> bool:
    """Whether a path is a DICOM segmentation object."""
    file, _ = _renumbered(path)
    if not file.is_file() or not fits(file):
        return False
    found = _modules().files.look(file)
    return found is not None and found.modality == "SEG"


def segments(path: Path) -> tuple[Segment, ...]:
    """What a segmentation says of its segments.

    Raises:
        PaucisError: damaged, or no segmentation.
    """
    found: tuple[Segment, ...] = _modules().segments.open_segmentation(_renumbered(path)[0]).segments
    return found


def renumber(path: Path, values: Mapping[int, int]) -> Path:
    """The address of a segmentation whose segment numbers become other values; the path itself where none changes."""
    changed = {number: value for number, value in values.items() if number != value}
    return Path(f"{path}#{','.join(f'{a}={b}' for a, b in sorted(values.items()))}") if changed else path


def fragment(path: Path) -> str:
    """What an address adds to the files that it stands for, where that changes what is read of them."""
    match = _match(_VALUES, path)
    return match[2] if match else ""


def write_segmentation(
    path: Path, array: NDArray[Any], source: Path, classes: Sequence[str], codes: Mapping[str, Any]
) -> None:
    """Write class indices (Z, Y, X) as a DICOM segmentation of the series that ``source`` stands for.

    Args:
        path: of the file.
        array: class indices on the scan's grid; 0 is the background.
        source: the scan.
        classes: names by index.
        codes: what classes are, by name (``paucis.data.segment_codes``).

    Raises:
        PaucisError: the series lacks what a segmentation must refer to.
    """
    planes, _ = _stacked(source)
    _modules().writing.write(path, array, planes, classes, codes)


def _stacked(path: Path) -> tuple[list[Plane], Geometry]:
    modules = _modules()
    planes: list[Plane] = []
    found = _series(path).instances if is_address(path) else [modules.files.look(path)]
    if found[0] is None:
        raise PaucisError(f"{path} is no DICOM file: remove it or give it the name of its format")
    if found[0].tiled:
        raise PaucisError(f"{path} is a whole-slide image (Total Pixel Matrix, 0048,0007), which paucis does not read")
    if not found[0].is_image:
        raise PaucisError(f"{path} is no image but {found[0].modality} (Modality (0008,0060)): name an image series")
    sops: dict[str, Path] = {}
    for instance in found:
        other = sops.setdefault(instance.sop, instance.path)
        if other != instance.path:
            raise PaucisError(
                f"{path}: duplicate slices: {instance.path.name} and {other.name} have one SOP Instance UID "
                "(0008,0018): remove the copies"
            )
        planes += modules.planes.read_planes(instance.path)
    stacked: tuple[list[Plane], Geometry] = modules.planes.stack(planes, path)
    return stacked


def _series(path: Path) -> _files.Series:
    files = _modules().files
    match = _match(_SERIES, path)
    folder, uid = (Path(match[1]), match[2]) if match else (path, None)
    if not folder.is_dir():
        raise PaucisError(f"{folder} does not exist: check the path")
    index = files.index(folder)
    if index.broken:
        raise PaucisError(f"{index.broken[0]} is a damaged DICOM file: copy or export it again, or remove it")
    found = [series for series in index.images if uid in (None, series.uid)]
    if not found:
        raise PaucisError(f"{path} holds no DICOM images{' of this series' if uid else ''}: check the path")
    if len(found) > 1:
        listed = "; ".join(files.told(series) for series in found[:4])
        raise PaucisError(f"{path} holds {len(found)} series ({listed}): choose one with --series")
    series: _files.Series = found[0]
    return series


def _renumbered(path: Path) -> tuple[Path, dict[int, int] | None]:
    match = _match(_VALUES, path)
    if not match:
        return path, None
    return Path(match[1]), {int(a): int(b) for a, b in (pair.split("=") for pair in match[2].split(","))}


def _match(pattern: re.Pattern[str], path: Path) -> re.Match[str] | None:
    """The parts of an address; None for what is the plain name of something."""
    return pattern.match(str(path)) if "#" in path.name and not path.exists() else None


class _Modules:
    """The modules that need pydicom, loaded together."""

    def __init__(self) -> None:
        from paucis.data import dicom_files, dicom_pixels, dicom_planes, dicom_segments, dicom_writing

        self.files, self.planes, self.pixels = dicom_files, dicom_planes, dicom_pixels
        self.segments, self.writing = dicom_segments, dicom_writing


def _modules() -> Any:
    try:
        return _Modules()
    except ModuleNotFoundError as error:
        raise PaucisError(f"DICOM files need {error.name}: pip install 'paucis[dicom]'") from error
