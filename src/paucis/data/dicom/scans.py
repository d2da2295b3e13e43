"""Scans and masks by their address: read, written, and named. What needs pydicom is loaded on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from paucis.data.case import Geometry, Grid, Volume
from paucis.data.dicom.addresses import fits, is_address, renumbered, series_of
from paucis.data.dicom.core import SUFFIXES
from paucis.errors import PaucisError

if TYPE_CHECKING:
    from paucis.data.dicom.files import Series
    from paucis.data.dicom.planes import Plane
    from paucis.data.dicom.segmentations import Segment


def address(series: Series) -> Path:
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
    folder, uid = series_of(path)
    if uid is not None:
        return f"{folder.resolve().name}_{_modules().files.short_name(uid)}"
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def members(path: Path) -> list[Path]:
    """The files that a path stands for, in the order of their names.

    Raises:
        PaucisError: nothing there, or several series.
    """
    file, values = renumbered(path)
    if values is not None:
        return [file]
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
    file, values = renumbered(path)
    if not is_segmentation(file):
        return read(file)
    opener = _modules().segmentations
    opened = opener.open_segmentation(file)
    mask: Volume = opener.lay(opened, onto() if onto else opener.own_grid([opened]), values)
    return mask


def read_masks(paths: Sequence[Path]) -> list[Volume]:
    """Several segmentations on the smallest grid that holds the frames of all.

    Raises:
        PaucisError: damaged, or on different grids.
    """
    opener = _modules().segmentations
    files = [renumbered(path) for path in paths]
    opened = [opener.open_segmentation(file) for file, _ in files]
    grid = opener.own_grid(opened)
    return [opener.lay(one, grid, values) for one, (_, values) in zip(opened, files, strict=True)]


def is_segmentation(path: Path) -> bool:
    """Whether a path is a DICOM segmentation object."""
    file, _ = renumbered(path)
    if not file.is_file() or not fits(file):
        return False
    found = _modules().files.look(file)
    return found is not None and found.modality == "SEG"


def segments(path: Path) -> tuple[Segment, ...]:
    """What a segmentation says of its segments.

    Raises:
        PaucisError: damaged, or no segmentation.
    """
    found: tuple[Segment, ...] = _modules().segmentations.open_segmentation(renumbered(path)[0]).segments
    return found


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


def _series(path: Path) -> Series:
    files = _modules().files
    folder, uid = series_of(path)
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
    series: Series = found[0]
    return series


class _Modules:
    """The modules that need pydicom, loaded together."""

    def __init__(self) -> None:
        from paucis.data.dicom import files, pixels, planes, segmentations, writing

        self.files, self.planes, self.pixels = files, planes, pixels
        self.segmentations, self.writing = segmentations, writing


def _modules() -> Any:
    try:
        return _Modules()
    except ModuleNotFoundError as error:
        raise PaucisError(f"DICOM files need {error.name}: pip install 'paucis[dicom]'") from error
