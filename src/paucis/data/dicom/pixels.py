"""Pixels of DICOM files: decoded, in the order of the file's frames, and rescaled to the modality's units.

pydicom decodes what it can: uncompressed, deflated and RLE by itself, JPEG, JPEG 2000 and JPEG-LS through what is
installed beside it. What it cannot, lossless JPEG above all, goes through the GDCM in SimpleITK, which paucis has
anyway; GDCM is given a copy without rescale values, so that it decodes and no more: it would apply them by rules of
its own, which pass over MR. Both report what a codec holds exactly, so the order changes no value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from paucis.data.dicom.files import reading
from paucis.data.dicom.planes import Plane
from paucis.data.volumes import quiet
from paucis.errors import PaucisError

_PIXELS = "Pixel Data (7FE0,0010)"
_IMAGE_PIXELS = (0x0028, 0x7FE0)  # groups of how pixels are stored, and of the pixels
_RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence")
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture: pixels and nothing more


def voxels(planes: Sequence[Plane]) -> NDArray[np.generic]:
    """The values of slices, (C, Z, Y, X), in the modality's units (HU, say).

    Whole slopes and intercepts leave integers; others make float32. MONOCHROME1, in which low values are white, is
    turned round, so that pictures of all makers look alike.

    Raises:
        PaucisError: pixels that are missing, damaged, or of a compression without a decoder.
    """
    opened: dict[Path, NDArray[Any]] = {}
    whole = all(plane.slope == 1 and plane.intercept.is_integer() for plane in planes)
    parts = []
    last = {plane.path: number for number, plane in enumerate(planes)}
    for number, plane in enumerate(planes):
        if plane.path not in opened:
            opened[plane.path] = frames(plane.path)
        stored = opened[plane.path][plane.frame]
        if whole and np.issubdtype(stored.dtype, np.integer):
            parts.append(stored.astype(np.int32) + int(plane.intercept) if plane.intercept else stored)
        else:
            parts.append((stored * plane.slope + plane.intercept).astype(np.float32))
        if last[plane.path] == number:
            del opened[plane.path]
    array = np.moveaxis(np.stack(parts), -1, 0)
    if array.dtype == np.int32 and array.min(initial=0) >= -(2**15) and array.max(initial=0) < 2**15:
        array = array.astype(np.int16)
    return np.ascontiguousarray(array)


def frames(path: Path) -> NDArray[Any]:
    """All frames of a file, (frames, rows, columns, samples), as stored; color as RGB.

    Raises:
        PaucisError: pixels that are missing, damaged, or of a compression without a decoder.
    """
    with reading(path):
        data = pydicom.dcmread(path, force=True)
    if not any(key in data for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise PaucisError(f"{path} has no {_PIXELS}: export it with its pixels, or remove it")
    stored = _decoded(data, path)
    with reading(path):
        count, samples = int(data.get("NumberOfFrames") or 1), int(data.get("SamplesPerPixel") or 1)
        kind = str(data.get("PhotometricInterpretation") or "")
        if "ModalityLUTSequence" in data:
            stored = pydicom.pixels.apply_modality_lut(stored, data)
        elif kind == "PALETTE COLOR" and data.get("Modality") != "SEG":
            stored, samples = pydicom.pixels.apply_color_lut(stored, data), 3
        elif kind == "MONOCHROME1":
            stored = _turned(stored, int(data.BitsStored), bool(data.get("PixelRepresentation")))
        return stored.reshape(count, int(data.Rows), int(data.Columns), -1)[..., : max(samples, 1)]


def _turned(stored: NDArray[Any], bits: int, signed: bool) -> NDArray[Any]:
    ends = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return np.asarray((sum(ends) - stored.astype(np.int64)).astype(stored.dtype))


def _decoded(data: Any, path: Path) -> NDArray[Any]:
    syntax = getattr(data.file_meta, "TransferSyntaxUID", None)
    try:
        with reading(path):
            if syntax is None:
                data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            return np.asarray(pydicom.pixels.pixel_array(data))
    except PaucisError as error:
        if syntax is None or not syntax.is_compressed or syntax.is_deflated:
            raise PaucisError(f"{path}: {_PIXELS} is incomplete or damaged: copy or export the file again") from error
    try:
        return _through_gdcm(data, path)
    except (RuntimeError, PaucisError) as error:
        name = syntax.name if syntax.name != syntax else f"transfer syntax {syntax}"
        raise PaucisError(
            f"{path}: {name} (Transfer Syntax UID (0002,0010)) cannot be decoded, the data are damaged or no decoder "
            "is installed: export it uncompressed, or `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`"
        ) from error


def _through_gdcm(data: Any, path: Path) -> NDArray[Any]:
    """Decoded by GDCM, from a copy that holds pixels only: neither rescale values nor anything of the patient."""
    if int(data.get("SamplesPerPixel") or 1) > 1:
        raise PaucisError(f"{path}: color")
    with reading(path), tempfile.TemporaryDirectory(prefix="paucis-") as folder:
        bare = pydicom.Dataset()
        bare.update({element.tag: element for element in data if element.tag.group in _IMAGE_PIXELS})
        for key in _RESCALE:
            if key in bare:
                delattr(bare, key)
        bare.SOPClassUID, bare.SOPInstanceUID = _CAPTURE, pydicom.uid.generate_uid()
        bare.file_meta = pydicom.dataset.FileMetaDataset()
        bare.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
        plain = Path(folder) / "frames.dcm"
        bare.save_as(plain, enforce_file_format=True)
        with quiet():
            return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(plain), imageIO="GDCMImageIO")))
