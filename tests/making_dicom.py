"""Small DICOM series with a known geometry, written with pydicom as scanners write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

PATIENT = "Quixotesecret^Alonsohidden"
NUMBER = "ID4711hidden"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)


def noise(shape=(6, 12, 10), seed=0):
    """Stored values (Z, Y, X)."""
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.int16)


def series(
    folder: Path,
    array=None,
    *,
    spacing=(2.5, 0.7, 0.8),
    origin=(-11.0, 5.0, 30.0),
    orientation=AXIAL,
    modality="CT",
    slope=1.0,
    intercept=-1024.0,
    uid=None,
    study=None,
    frame=None,
    patient=NUMBER,
    number=1,
    description="thorax",
    ending="",
    implicit=False,
    change=None,
) -> np.ndarray:
    """Write slices (Z, Y, X) in a random order of names; returns the values in the modality's units.

    ``change(slice, z)`` alters a slice before it is written, or leaves it out by returning False.
    """
    array = noise() if array is None else array
    uid, study, frame = uid or generate_uid(), study or generate_uid(), frame or generate_uid()
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    names = np.random.default_rng(1).permutation(len(array))
    folder.mkdir(parents=True, exist_ok=True)
    for z, values in enumerate(array):
        one = head(uid, study, modality, patient, number, description)
        one.FrameOfReferenceUID = frame
        one.ImagePositionPatient = [float(f"{v:.6g}") for v in np.array(origin) + z * spacing[0] * normal]
        one.ImageOrientationPatient = list(orientation)
        one.PixelSpacing = [spacing[1], spacing[2]]
        one.SliceThickness = spacing[0]
        one.InstanceNumber = z + 1
        one.Rows, one.Columns = values.shape
        if modality == "CT":
            one.RescaleSlope, one.RescaleIntercept = slope, intercept
        pixels(one, values)
        if change is not None and change(one, z) is False:
            continue
        save(one, folder / f"{uid[-6:]}{names[z]:03d}{ending}", implicit)
    return array if modality != "CT" else array * slope + intercept


def head(uid, study, modality="CT", patient=NUMBER, number=1, description="thorax") -> Dataset:
    """What every object of a patient begins with."""
    one = Dataset()
    one.SOPClassUID = {"CT": CT, "MR": MR}.get(modality, "1.2.840.10008.5.1.4.1.1.88.33")
    one.SOPInstanceUID, one.SeriesInstanceUID, one.StudyInstanceUID = generate_uid(), uid, study
    one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = PATIENT, patient, "19470929", "M"
    one.StudyDate, one.StudyTime, one.AccessionNumber, one.StudyID = "20200101", "120000", "1", "1"
    one.ReferringPhysicianName = "Cervantes^Miguel"
    one.Modality, one.SeriesNumber, one.SeriesDescription = modality, number, description
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return one


def pixels(one: Dataset, values: np.ndarray) -> None:
    """Signed 16-bit pixels, one sample each."""
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.PixelData = values.astype("<i2").tobytes()


def save(one: Dataset, path: Path, implicit: bool = False) -> None:
    """With preamble and meta information."""
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    one.save_as(path, enforce_file_format=True)


def enhanced(path: Path, array: np.ndarray, spacing=(2.0, 0.5, 0.5), slopes=None) -> None:
    """A multi-frame MR, frames in reversed order, each with a slope of its own."""
    one = head(generate_uid(), generate_uid(), "MR")
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    one.FrameOfReferenceUID = generate_uid()
    one.NumberOfFrames, one.Rows, one.Columns = array.shape
    measures, turned = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[2]], spacing[0]
    turned.ImageOrientationPatient = list(AXIAL)
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turned]
    one.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for z in reversed(range(len(array))):
        place, value, item = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, z * spacing[0]]
        value.RescaleSlope, value.RescaleIntercept = (slopes or [1.0] * len(array))[z], 0.0
        item.PlanePositionSequence, item.PixelValueTransformationSequence = [place], [value]
        frames.append(item)
    one.PerFrameFunctionalGroupsSequence = frames
    pixels(one, array[::-1])
    save(one, path)


def segmentation(path: Path, source: Path, masks: np.ndarray, labels, *, fractional=False, reverse=False) -> None:
    """A segmentation of the series in ``source``, through highdicom: masks (Z, Y, X, segments) of 0/1 or fractions."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    files = [pydicom.dcmread(file) for file in source.iterdir()]
    normal = np.cross(files[0].ImageOrientationPatient[:3], files[0].ImageOrientationPatient[3:])
    files.sort(key=lambda one: float(np.dot(one.ImagePositionPatient, normal)), reverse=reverse)
    described = [
        hd.seg.SegmentDescription(
            number, label, codes.SCT.Tissue, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, label in enumerate(labels, 1)
    ]
    content = masks[::-1] if reverse else masks
    made = hd.seg.Segmentation(
        source_images=files,
        pixel_array=content.astype(np.float32) if fractional else content.astype(np.uint8),
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
