"""Volumes with a place in space: NIfTI, NRRD, MHA and MHD through SimpleITK."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from paucis.data import nifti
from paucis.data.case import Geometry, Volume
from paucis.errors import PaucisError

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_LOCK = threading.RLock()

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read(path: Path) -> Volume:
    """The file as (C, Z, Y, X): vector components and a fourth dimension both become channels.

    Raises:
        PaucisError: the file is missing, truncated, damaged, or has more than four dimensions.
    """
    lost = nifti.inspect(path) if path.name.lower().endswith((".nii", ".nii.gz")) else None
    image = _attempt(path, lambda: sitk.ReadImage(str(path)))
    array = sitk.GetArrayFromImage(image)
    dims, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dims > 4 or (dims == 4 and components > 1):
        raise PaucisError(
            f"{path} has {dims} dimensions with {components} values per voxel: save one 3D file per channel"
        )
    if dims == 2:
        array = array[None]
    if components > 1:
        array = np.moveaxis(array, -1, 0)
    elif dims < 4:
        array = array[None]
    array = np.ascontiguousarray(array)
    if lost is not None and lost.places.size and np.issubdtype(array.dtype, np.floating):
        array.reshape(-1)[lost.places] = lost.values
    return Volume(array, _geometry(image, path))


def read_geometry(path: Path) -> Geometry:
    """Spacing, origin and direction from the header alone."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    _attempt(path, reader.ReadImageInformation)
    return _geometry(reader, path)


def write(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write (Z, Y, X) with this geometry; a scan that came as a 2D image goes back as one."""
    flat = geometry.dims == 2
    image = sitk.GetImageFromArray(array[0] if flat else array)
    spacing, direction = geometry.spacing[::-1], geometry.direction
    image.SetSpacing(spacing[:2] if flat else spacing)
    image.SetOrigin(geometry.origin[:2] if flat else geometry.origin)
    image.SetDirection((direction[0], direction[1], direction[3], direction[4]) if flat else direction)
    with quiet():
        sitk.WriteImage(image, str(path), useCompression=True)


def _geometry(image: Any, path: Path) -> Geometry:
    """Geometry of a SimpleITK image or of a reader that has read the header."""
    dims = image.GetDimension()
    matrix = np.eye(3)
    space = min(dims, 3)
    matrix[:space, :space] = np.reshape(image.GetDirection(), (dims, dims))[:space, :space]
    spacing = (*image.GetSpacing()[:space], 1.0)[:3]
    origin = (*image.GetOrigin()[:space], 0.0)[:3]
    if not all(np.isfinite((*spacing, *origin))) or min(spacing) <= 0:
        raise PaucisError(f"{path} has no usable spacing or origin ({spacing} mm, {origin} mm): mend its header")
    return Geometry(
        spacing=(spacing[2], spacing[1], spacing[0]),
        origin=(origin[0], origin[1], origin[2]),
        direction=tuple(float(value) for value in matrix.ravel()),
        physical=True,
        suffix=next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(suffix)),
        dims=2 if dims == 2 else 3,
    )


def _attempt(path: Path, action: Any) -> Any:
    """Run a read; what goes wrong in it is one line that names the file."""
    try:
        with quiet():
            return action()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        if "orthonormal" in str(error):
            raise PaucisError(
                f"{path} has axes that are not at right angles (sheared header): resample it to a regular grid first"
            ) from error
        if reason.startswith(("Reason:", "sitk::ERROR")):  # what ITK says here is left over from elsewhere
            reason = "its header is broken or its data are incomplete"
        raise PaucisError(f"{path} cannot be read ({reason}): copy or download it again, or remove it") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the C libraries below SimpleITK from writing to standard error; what they report also raises."""
    with _LOCK:
        sys.stderr.flush()
        saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nothing)
