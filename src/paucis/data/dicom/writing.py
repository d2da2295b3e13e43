"""Masks as DICOM segmentations of the series they were made from, through highdicom."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import Collection

import paucis
from paucis.data.dicom.core import UnfitSourceError
from paucis.data.dicom.files import reading
from paucis.data.dicom.planes import Plane
from paucis.errors import PaucisError

_STRUCTURE = ("91723000", "SCT", "Anatomical Structure")
_TISSUE = ("85756007", "SCT", "Tissue")
_ANATOMY = "CID7192"  # Anatomical Structure Segmentation Property Types (DICOM PS3.16)
_OWN_SCHEME = "99PAUCIS"  # private schemes begin with 99 (DICOM PS3.3, 8.2)
_SERIES_NUMBER = 900
_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def write(
    path: Path, array: NDArray[Any], planes: Sequence[Plane], classes: Sequence[str], codes: Mapping[str, Any]
) -> None:
    """Write class indices as a binary segmentation: class k is segment k, and empty frames are left out.

    Patient, study and frame of reference are the source's, as a PACS needs them; every frame refers to the image it
    was made of.

    Args:
        path: of the file.
        array: class indices (Z, Y, X), Z in the order of ``planes``.
        planes: slices of the source.
        classes: names by index, the background first.
        codes: by class name, ``{"type": (value, scheme, meaning), "category": ...}``. A name of the context
            group of anatomical structures (CID 7192) is coded by it, any other by a private code.

    Raises:
        PaucisError: highdicom is not installed.
        UnfitSourceError: the source lacks what a segmentation must refer to.
    """
    try:
        import highdicom
    except ModuleNotFoundError as error:
        raise PaucisError(
            f"{path}: writing DICOM segmentations needs {error.name}: pip install 'paucis[dicom]'"
        ) from error
    sources = _sources(planes)
    order = _order(planes, sources)
    first = sources[0]
    plane = planes[0]
    measures = None
    if plane.position is not None:
        between = _between(planes)
        measures = highdicom.PixelMeasuresSequence(
            list(plane.spacing or (1.0, 1.0)), plane.thickness or between, between
        )
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="paucis",
        version=paucis.__version__,
        family=pydicom.sr.coding.Code("123110", "DCM", "Artificial Intelligence"),
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=_code(_codes(name, codes)["category"]),
            segmented_property_type=_code(_codes(name, codes)["type"]),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=highdicom.UID(),
            tracking_id=name[:64],
        )
        for number, name in enumerate(classes)
        if number
    ]
    try:
        with reading(path):
            written = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=np.ascontiguousarray(array[order]).astype(np.uint8),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=descriptions,
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="paucis",
                manufacturer_model_name="paucis",
                software_versions=paucis.__version__,
                device_serial_number="none",
                content_label="SEGMENTATION",
                content_description="Automatic segmentation",
                series_description="paucis segmentation",
                pixel_measures=measures,
            )
            written.save_as(path)
    except PaucisError as error:
        cause = error.__cause__
        if isinstance(cause, OSError):
            raise cause from error
        lacking = f" has no {cause.name}" if isinstance(cause, AttributeError) and cause.name else " does not fit"
        raise UnfitSourceError(
            f"{first.filename}{lacking}, which a DICOM segmentation must refer to ({type(cause).__name__}): "
            "use --format own"
        ) from error


def _sources(planes: Sequence[Plane]) -> list[Any]:
    """The headers of the files of a series, in the order of its slices; what may be empty is empty, not missing."""
    headers = []
    for path in dict.fromkeys(plane.path for plane in planes):
        with reading(path):
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        needed = {"StudyInstanceUID": "Study Instance UID (0020,000D)"}
        if planes[0].position is not None:
            needed["FrameOfReferenceUID"] = "Frame of Reference UID (0020,0052)"
        for key, shown in needed.items():
            if not header.get(key):
                raise UnfitSourceError(
                    f"{path} has no {shown}, which a DICOM segmentation must refer to: use --format own"
                )
        for key in _EMPTY:
            if key not in header:
                setattr(header, key, "")
        headers.append(header)
    return headers


def _order(planes: Sequence[Plane], sources: Sequence[Any]) -> list[int]:
    """Slices of the array in the order of the sources' frames."""
    place = {(plane.path, plane.frame): number for number, plane in enumerate(planes)}
    files = list(dict.fromkeys(plane.path for plane in planes))
    counts = [int(source.get("NumberOfFrames") or 1) for source in sources]
    return [place[path, frame] for path, count in zip(files, counts, strict=True) for frame in range(count)]


def _between(planes: Sequence[Plane]) -> float:
    if len(planes) == 1:
        return planes[0].thickness or 1.0
    ends = np.array(planes[-1].position) - np.array(planes[0].position)
    return float(np.linalg.norm(ends)) / (len(planes) - 1)


def _codes(name: str, given: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    if entry := given.get(name):
        return {"type": entry["type"], "category": entry.get("category") or _STRUCTURE}
    keyword = "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", name))
    found = Collection(_ANATOMY).concepts.get(keyword)
    if found is None:
        return {"type": (_private(name), _OWN_SCHEME, name[:64]), "category": _TISSUE}
    return {"type": (found.value, found.scheme_designator, found.meaning), "category": _STRUCTURE}


def _private(name: str) -> str:
    """A code value, which may have 16 characters."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name)
    return plain if 0 < len(plain) <= 16 else f"{plain[:11]}_{zlib.crc32(name.encode()) & 0xFFFF:04x}"


def _code(code: Sequence[str]) -> Any:
    return pydicom.sr.coding.Code(code[0], code[1], code[2])
