"""DICOM files of a folder: what each is, and which of them make one series.

Only headers are read, and of those only what grouping needs. Of the patient nothing is kept but a digest that tells
patients apart within one process; free text of a series is kept only where it does not repeat the patient's name or
number.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pydicom

from paucis.data.dicom.core import has_magic
from paucis.errors import PaucisError

NOT_IMAGES = frozenset((
    "SEG", "PR", "KO", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "REG", "RWV", "ANN", "DOC", "PLAN", "FID",
    "AU", "ECG", "HD",
))  # fmt: skip
"""Modalities of what is no image of a patient."""
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientName",
    "SeriesNumber", "SeriesDescription", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "ImageType",
    "PhotometricInterpretation", "ImagePositionPatient", "FrameOfReferenceUID", "TotalPixelMatrixRows",
    "ReferencedSeriesSequence",
]  # fmt: skip
_LEGACY = (".dcm", ".dicom", ".ima", ".dic")
_DIRECTORY = "1.2.840.10008.1.3.10"
_SHORT = 8  # hexadecimal digits of a digest that names a series
_KEPT: dict[Path, tuple[Any, Index]] = {}
_ROOM = 32  # folders whose index is kept


@dataclass(frozen=True)
class Instance:
    """One file.

    Attributes:
        path: of the file.
        sop: its SOP Instance UID.
        series: Series Instance UID.
        study: Study Instance UID.
        patient: digest of the Patient ID, empty where there is none; never shown.
        modality: CT, MR, SEG ...
        number: of the series, as shown on a scanner.
        description: of the series; empty where it names the patient.
        frames: number of frames.
        size: rows and columns; zeros where there are no pixels.
        samples: values of a pixel, 3 for colors.
        placed: whether it says where in space its pixels lie.
        frame_of_reference: UID of the coordinate system.
        localizer: whether it is a scout image.
        tiled: whether it is a part of a whole-slide image.
        refers: series that it refers to (segmentations).
    """

    path: Path
    sop: str
    series: str
    study: str
    patient: str
    modality: str
    number: str
    description: str
    frames: int
    size: tuple[int, int]
    samples: int
    placed: bool
    frame_of_reference: str
    localizer: bool
    tiled: bool
    refers: tuple[str, ...]

    @property
    def is_image(self) -> bool:
        """Whether it holds pixels of a patient, not a result about them."""
        return self.modality not in NOT_IMAGES and min(self.size) > 0


@dataclass(frozen=True)
class Series:
    """Files of one Series Instance UID; of pictures without a place in space, each is one of its own."""

    uid: str
    instances: tuple[Instance, ...]

    @property
    def first(self) -> Instance:
        return self.instances[0]

    @property
    def short(self) -> str:
        """A short digest of the UID (of the instance's, for pictures): names the series where no folder does."""
        picture = len(self.instances) == 1 and not self.first.placed
        return short_name(self.first.sop if picture else self.uid)

    @property
    def slices(self) -> int:
        return sum(instance.frames for instance in self.instances)

    @property
    def folder(self) -> Path:
        """The deepest folder that holds all its files."""
        return Path(os.path.commonpath([instance.path.parent for instance in self.instances]))


@dataclass(frozen=True)
class Index:
    """What lies below a folder: series of images, other objects, and files that are damaged."""

    images: tuple[Series, ...]
    others: tuple[Instance, ...]
    broken: tuple[Path, ...]

    @property
    def segmentations(self) -> tuple[Instance, ...]:
        return tuple(one for one in self.others if one.modality == "SEG")


def index(folder: Path) -> Index:
    """The DICOM files below a folder, hidden ones left out; remembered until a file changes."""
    seen = [(file, status.st_size, status.st_mtime_ns) for file, status in _files(folder)]
    known = _KEPT.get(folder)
    if known is not None and known[0] == seen:
        return known[1]
    instances, broken = [], []
    for file, _, _ in seen:
        try:
            instance = look(file)
        except PaucisError:
            broken.append(file)
            continue
        if instance is not None:
            instances.append(instance)
    found = Index(_series(instances), tuple(one for one in instances if not one.is_image), tuple(broken))
    if len(_KEPT) >= _ROOM:
        _KEPT.pop(next(iter(_KEPT)))
    _KEPT[folder] = (seen, found)
    return found


def look(path: Path) -> Instance | None:
    """What a file is, or None where it is no DICOM object with a series.

    Raises:
        PaucisError: it is DICOM but damaged.
    """
    bare = not has_magic(path)
    if bare and path.suffix.lower() not in _LEGACY:
        return None
    with reading(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=bare)
        if getattr(header.file_meta, "MediaStorageSOPClassUID", "") == _DIRECTORY:
            return None
        if not header.get("SeriesInstanceUID"):
            raise PaucisError(f"{path} has no Series Instance UID (0020,000E): export it again, or remove it")
        return _instance(path, header)


def short_name(uid: str) -> str:
    """A digest of a UID, short enough to be typed."""
    return hashlib.blake2b(uid.encode()).hexdigest()[:_SHORT]


def choose(found: Sequence[Series], rule: str | None) -> list[Series]:
    """The series that a rule names.

    A rule is a list of conditions divided by commas, all of which must hold: ``modality=MR``, ``description=*t1*``,
    ``number=4`` (``*`` and ``?`` stand for anything, case does not matter); a Series Instance UID, its ending, or the
    short name that ``paucis check`` lists; and ``largest``: of each study, of what the other conditions leave, the
    series of the most slices.

    Raises:
        PaucisError: an unknown condition, or nothing fits.
    """
    left = list(found)
    conditions = [part.strip() for part in (rule or "").split(",") if part.strip()]
    for condition in sorted(conditions, key=lambda part: part == "largest"):
        key, equals, pattern = condition.partition("=")
        if condition == "largest":
            left = _largest(left)
        elif equals and key in ("modality", "description", "number"):
            left = [one for one in left if fnmatchcase(getattr(one.first, key).lower(), pattern.strip().lower())]
        elif not equals and re.fullmatch(r"[0-9a-f.]+", condition):
            left = [one for one in left if one.short == condition or one.uid.endswith(condition)]
        else:
            raise PaucisError(
                f"--series {rule}: '{condition}' is no rule: give a series as `paucis check` lists it, modality=, "
                "description=, number= or largest"
            )
    if conditions and not left:
        listed = ", ".join(told(one) for one in found[:5])
        raise PaucisError(f"--series {rule}: fits none of {len(found)} series ({listed}): `paucis check` lists all")
    return left


def told(series: Series) -> str:
    """A series in a few words, none of them the patient's."""
    first = series.first
    named = f" '{first.description}'" if first.description else ""
    return f"{series.short}: {first.modality or 'no modality'}{named}, {series.slices} slices"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Keep pydicom's warnings, which quote values, from being shown, and make one line of what goes wrong."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PaucisError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise PaucisError(f"{path} does not exist: check the path") from error
    except PermissionError as error:
        raise PaucisError(f"{path} may not be read: check its permissions") from error
    except Exception as error:  # pydicom raises what a damaged value happens to raise; its text may quote the header
        raise PaucisError(
            f"{path} is a damaged DICOM file ({type(error).__name__}): copy or export it again, or remove it"
        ) from error
    finally:
        logger.setLevel(level)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith(".") and file.suffix.lower() not in _OTHER_FORMATS and file.is_file():
                yield file, file.stat()


_OTHER_FORMATS = frozenset((
    ".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".raw", ".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg",
    ".h5", ".hdf5", ".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".zip", ".html", ".pdf", ".yaml", ".py",
))  # fmt: skip
"""Endings of files that are not opened to see whether they are DICOM."""


def _instance(path: Path, header: Any) -> Instance:
    name, number = str(header.get("PatientName") or ""), str(header.get("PatientID") or "").strip()
    private = [part.lower() for part in re.split(r"[\^=\s,]+", f"{name} {number}") if len(part) > 2]
    text = " ".join(str(header.get("SeriesDescription") or "").split())
    frames = int(header.get("NumberOfFrames") or 1)
    return Instance(
        path=path,
        sop=str(header.get("SOPInstanceUID") or path),
        series=str(header.get("SeriesInstanceUID") or path),
        study=str(header.get("StudyInstanceUID") or ""),
        patient=hashlib.blake2b(number.encode(), digest_size=8).hexdigest() if number else "",
        modality=str(header.get("Modality") or ""),
        number=str(header.get("SeriesNumber") or ""),
        description="" if any(part in text.lower() for part in private) else text,
        frames=frames,
        size=(int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        samples=3
        if header.get("PhotometricInterpretation") == "PALETTE COLOR"
        else int(header.get("SamplesPerPixel") or 1),
        placed=bool(header.get("ImagePositionPatient")) or frames > 1,
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        localizer="LOCALIZER" in [str(part).upper() for part in _several(header.get("ImageType"))],
        tiled="TotalPixelMatrixRows" in header,
        refers=tuple(str(one.SeriesInstanceUID) for one in header.get("ReferencedSeriesSequence") or ()),
    )


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _series(instances: Sequence[Instance]) -> tuple[Series, ...]:
    """Images by series; those without a place in space file by file."""
    groups: dict[str, list[Instance]] = {}
    for one in instances:
        if one.is_image:
            key = one.series if one.placed else f"{one.series}/{one.path}"
            groups.setdefault(key, []).append(one)
    return tuple(Series(group[0].series, tuple(group)) for group in groups.values())


def _largest(found: Sequence[Series]) -> list[Series]:
    best: dict[str, Series] = {}
    for one in found:
        held = best.get(one.first.study)
        if held is None or one.slices > held.slices:
            best[one.first.study] = one
    return list(best.values())
