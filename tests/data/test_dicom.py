"""DICOM scans are read by their place in space and in the modality's units; what is no regular grid is refused."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from making_dicom import MR, OBLIQUE, PATIENT, SAGITTAL, enhanced, head, noise, pixels, save, series
from paucis.data import dicom, formats
from paucis.data.dicom.files import choose, index
from paucis.data.dicom.pixels import frames
from paucis.data.layouts import recognize, scans
from paucis.errors import PaucisError

UIDS = ("1.2.3.4.111111", "1.2.3.4.222222", "1.2.3.4.333333")


def refusal(path: Path) -> str:
    with pytest.raises(PaucisError) as caught:
        formats.read_image([path])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), SAGITTAL, OBLIQUE])
def test_slices_are_ordered_by_place_and_rescaled(tmp_path: Path, orientation, implicit: bool) -> None:
    expected = series(tmp_path / "scan", orientation=orientation, implicit=implicit)
    volume = formats.read_image([tmp_path / "scan"])
    assert np.array_equal(volume.array[0], expected)
    assert volume.array.dtype == np.int16
    assert volume.geometry.spacing == pytest.approx((2.5, 0.7, 0.8))
    assert volume.geometry.origin == pytest.approx((-11.0, 5.0, 30.0))
    axes = np.reshape(volume.geometry.direction, (3, 3)).T
    assert np.allclose(axes[0], orientation[:3])
    assert np.allclose(axes[2], np.cross(orientation[:3], orientation[3:]))
    grid = formats.read_grid([tmp_path / "scan"])
    assert grid.shape == (6, 12, 10)
    assert grid.geometry == volume.geometry == formats.read_geometry(tmp_path / "scan")


def test_a_series_reads_as_simpleitk_reads_it(tmp_path: Path) -> None:
    series(tmp_path / "scan", orientation=OBLIQUE)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    image, volume = reader.Execute(), formats.read_image([tmp_path / "scan"])
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.array[0])
    assert np.allclose(image.GetDirection(), volume.geometry.direction)
    assert np.allclose(image.GetOrigin(), volume.geometry.origin)
    assert np.allclose(image.GetSpacing(), volume.geometry.spacing[::-1])


def test_every_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def change(one, z):
        one.RescaleSlope, one.RescaleIntercept = 0.5 + z, 3.0

    series(tmp_path / "scan", noise(), change=change)
    array = formats.read_image([tmp_path / "scan"]).array[0]
    assert array.dtype == np.float32
    assert np.allclose(array, noise() * (0.5 + np.arange(6))[:, None, None] + 3)


def test_one_file_is_one_slice(tmp_path: Path) -> None:
    expected = series(tmp_path / "scan", ending=".dcm")
    first = min((tmp_path / "scan").iterdir())
    place = float(pydicom.dcmread(first).ImagePositionPatient[2])
    volume = formats.read_image([first])
    assert np.array_equal(volume.array[0, 0], expected[round((place - 30) / 2.5)])
    assert volume.geometry.origin[2] == place


def test_enhanced_frames_are_ordered_and_rescaled(tmp_path: Path) -> None:
    array = noise()
    enhanced(tmp_path / "frames", array, slopes=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    volume = formats.read_image([tmp_path / "frames"])
    assert np.allclose(volume.array[0], array * np.arange(1, 7)[:, None, None])
    assert volume.geometry.spacing == (2.0, 0.5, 0.5)
    assert [case.name for case in scans(tmp_path)] == ["frames"]


REFUSED = {
    "missing": (lambda one, z: z != 3, "1 slice is missing: Image Position (Patient) (0020,0032)"),
    "duplicate": (lambda one, z: _put(one, 2, 30.0 if z == 1 else None), "duplicate slices: Image Position (Patient)"),
    "uneven": (
        lambda one, z: _put(one, 2, 36.0 if z == 2 else None),
        "unevenly spaced slices: Image Position (Patient)",
    ),
    "tilted": (lambda one, z: _put(one, 1, 5.0 + 0.3 * z), "tilted stack: Image Position (Patient) (0020,0032)"),
    "turned": (
        lambda one, z: setattr(one, "ImageOrientationPatient", list(OBLIQUE)) if z == 4 else None,
        "Image Orientation (Patient) (0020,0037)",
    ),
    "spaced": (
        lambda one, z: setattr(one, "PixelSpacing", [0.7, 0.9]) if z == 4 else None,
        "Pixel Spacing (0028,0030)",
    ),
    "sized": (lambda one, z: _crop(one) if z == 4 else None, "Rows (0028,0010)"),
    "flat": (lambda one, z: setattr(one, "RescaleSlope", 0), "Rescale Slope (0028,1053)"),
    "empty": (lambda one, z: one.__delattr__("PixelData") if z == 2 else None, "Pixel Data (7FE0,0010)"),
    "cut": (lambda one, z: setattr(one, "PixelData", b"\0\0") if z == 2 else None, "Pixel Data (7FE0,0010)"),
}


def _put(one, axis, value) -> None:
    if value is not None:
        place = list(one.ImagePositionPatient)
        place[axis] = value
        one.ImagePositionPatient = place


def _crop(one) -> None:
    one.Rows = 6
    one.PixelData = one.PixelData[: 6 * 10 * 2]


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_no_regular_grid_is_refused_with_its_tag(tmp_path: Path, fault: str) -> None:
    change, message = REFUSED[fault]
    series(tmp_path / "scan", change=change)
    with pytest.raises(PaucisError) as caught:
        formats.read_image([tmp_path / "scan"])
    assert message in str(caught.value)
    assert str(tmp_path / "scan") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_phases_at_one_place_are_told_by_what_tells_them_apart(tmp_path: Path) -> None:
    for phase in (1, 2):
        series(
            tmp_path / "cine",
            uid=UIDS[0],
            change=lambda one, z, phase=phase: _phase(one, phase),
            ending=f".{phase}",
        )
    message = refusal(tmp_path / "cine")
    assert "6 duplicate slices" in message
    assert "they differ in Temporal Position Identifier (0020,0100)" in message


def _phase(one, phase: int) -> None:
    one.TemporalPositionIdentifier = phase


def test_the_tolerance_is_in_millimeters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path / "scan", change=lambda one, z: _put(one, 2, 35.25 if z == 2 else None))
    assert "is 0.25 mm off a regular grid (allowed: 0.1 mm)" in refusal(tmp_path / "scan")
    monkeypatch.setenv("PAUCIS_SLICE_TOLERANCE", "0.3")
    assert formats.read_image([tmp_path / "scan"]).geometry.spacing[0] == pytest.approx(2.5)
    monkeypatch.setenv("PAUCIS_SLICE_TOLERANCE", "far")
    with pytest.raises(PaucisError, match="PAUCIS_SLICE_TOLERANCE=far is no length"):
        formats.read_image([tmp_path / "scan"])


def test_the_same_instance_twice_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "scan")
    one = min((tmp_path / "scan").iterdir())
    (tmp_path / "scan" / "copy").write_bytes(one.read_bytes())
    assert "SOP Instance UID (0008,0018)" in refusal(tmp_path / "scan")


def test_a_damaged_file_is_named_and_its_header_is_not_quoted(tmp_path: Path) -> None:
    series(tmp_path / "scan")
    one = min((tmp_path / "scan").iterdir())
    one.write_bytes(one.read_bytes()[:400])
    with pytest.raises(PaucisError) as caught:
        formats.read_image([tmp_path / "scan"])
    assert "hidden" not in str(caught.value)


def mixed(folder: Path) -> None:
    """Two CT series, one MR series and a report, all in one folder, names without endings."""
    study = generate_uid()
    series(folder, noise((6, 12, 10), 1), uid=UIDS[0], study=study, description="thorax 5mm", number=2)
    series(folder, noise((9, 12, 10), 2), uid=UIDS[1], study=study, description=f"lung {PATIENT[:13]}", number=3)
    series(folder, noise((4, 8, 8), 3), uid=UIDS[2], study=study, modality="MR", description="t1 axial", number=4)
    save(head(generate_uid(), study, "SR"), folder / "report")
    (folder / "notes.txt").write_text("nothing")
    (folder / "other").write_bytes(b"no DICOM at all")


def test_a_mixed_folder_is_grouped_by_series(tmp_path: Path) -> None:
    mixed(tmp_path / "disc")
    dataset = recognize(tmp_path / "disc")
    assert dataset.layout == "dicom"
    assert len(dataset.cases) == 3
    for case in dataset.cases:
        assert case.images[0].name.startswith("disc#1.2.3.4.")
        assert case.name.startswith("series_")
        assert len(formats.members(case.images[0])) == formats.read_image(case.images).array.shape[1]
    assert len({case.group for case in dataset.cases}) == 1
    with pytest.raises(PaucisError, match=r"holds 3 series .* choose one with --series"):
        formats.read_image([tmp_path / "disc"])


@pytest.mark.parametrize(
    ("rule", "slices"),
    [
        ("largest", [9]),
        ("modality=ct", [6, 9]),
        ("modality=CT,largest", [9]),
        ("largest,modality=MR", [4]),
        ("description=*t1*", [4]),
        ("number=2", [6]),
        (UIDS[0], [6]),
        ("333333", [4]),
    ],
)
def test_series_are_chosen_by_rule(tmp_path: Path, rule: str, slices: list[int]) -> None:
    mixed(tmp_path / "disc")
    chosen = choose(index(tmp_path / "disc").images, rule)
    assert sorted(one.slices for one in chosen) == slices
    assert len(scans(tmp_path / "disc", series=rule)) == len(slices)
    for one in chosen:
        assert choose(index(tmp_path / "disc").images, one.short) == [one]


@pytest.mark.parametrize("rule", ["modality=PT", "9.9.9", "biggest", "color=red"])
def test_a_rule_that_fits_nothing_is_refused(tmp_path: Path, rule: str) -> None:
    mixed(tmp_path / "disc")
    with pytest.raises(PaucisError, match=r"^--series") as caught:
        scans(tmp_path / "disc", series=rule)
    assert "hidden" not in str(caught.value)
    assert "Quixote" not in str(caught.value)


def test_a_case_goes_by_the_folder_that_holds_it_alone(tmp_path: Path) -> None:
    series(tmp_path / "one" / "study" / "S1")
    for uid in UIDS[:2]:
        series(tmp_path / "two" / uid[-1], uid=uid)
    for uid in ("1.2.3.4.555555", "1.2.3.4.666666"):
        series(tmp_path / "three", uid=uid)
    names = [case.name for case in recognize(tmp_path).cases]
    assert names[:1] + names[3:] == ["one", "two_1", "two_2"]
    assert all(name.startswith("three_") and len(name) == len("three_") + 8 for name in names[1:3])


def test_scouts_and_captures_are_left_out(tmp_path: Path) -> None:
    series(tmp_path / "a")
    series(
        tmp_path / "b", noise((1, 12, 10)), change=lambda one, z: setattr(one, "ImageType", ["ORIGINAL", "LOCALIZER"])
    )
    capture = head(generate_uid(), generate_uid(), "OT")
    capture.Rows, capture.Columns = 8, 8
    pixels(capture, np.zeros((8, 8)))
    save(capture, tmp_path / "capture.dcm")
    assert [case.name for case in recognize(tmp_path).cases] == ["a"]


def test_patients_share_a_group_that_does_not_name_them(tmp_path: Path) -> None:
    for name, patient in (("a", "P1"), ("b", "P2"), ("c", "P1")):
        series(tmp_path / name, patient=patient)
    groups = [case.group for case in recognize(tmp_path).cases]
    assert groups[0] == groups[2] != groups[1]
    assert set(groups) == {"patient 1", "patient 2"}


def test_one_id_for_all_tells_no_patients_apart(tmp_path: Path) -> None:
    for name in "abc":
        series(tmp_path / name, patient="ANONYMOUS")
    assert len({case.group for case in recognize(tmp_path).cases}) == 3


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_slices_read_as_uncompressed_ones(tmp_path: Path, syntax) -> None:
    expected = series(tmp_path / "scan")
    for file in (tmp_path / "scan").iterdir():
        one = pydicom.dcmread(file)
        one.compress(syntax, generate_instance_uid=False)
        one.save_as(file)
    assert np.array_equal(formats.read_image([tmp_path / "scan"]).array[0], expected)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_gdcm_decodes_what_pydicom_cannot(tmp_path: Path, compressor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = sitk.GetImageFromArray(noise((1, 16, 20)))
    image.SetMetaData("0028|1052", "-1024")
    image.SetMetaData("0028|1053", "1")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(tmp_path / "one.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(image)
    assert pydicom.dcmread(tmp_path / "one.dcm").file_meta.TransferSyntaxUID.is_compressed

    def no_decoder(*_, **__):
        raise RuntimeError("unable to decompress")

    monkeypatch.setattr(pydicom.pixels, "pixel_array", no_decoder)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "one.dcm")))
    slope = pydicom.dcmread(tmp_path / "one.dcm")
    stored = frames(tmp_path / "one.dcm")[0, :, :, 0]
    assert np.array_equal(stored * float(slope.RescaleSlope) + float(slope.RescaleIntercept), expected[0])


def test_a_compression_without_a_decoder_is_one_line(tmp_path: Path) -> None:
    series(tmp_path / "scan", noise((1, 12, 10)))
    file = next((tmp_path / "scan").iterdir())
    one = pydicom.dcmread(file)
    one.compress(RLELossless, generate_instance_uid=False)
    one.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
    one.save_as(file)
    with pytest.raises(PaucisError) as caught:
        formats.read_image([tmp_path / "scan"])
    assert "Transfer Syntax UID (0002,0010)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variants_of_one_slice_read_alike() -> None:
    plain = formats.read_image([Path(get_testdata_file("MR_small.dcm"))])
    for name in ("implicit", "bigendian", "RLE", "jpeg_ls_lossless", "jp2klossless", "expb", "padded"):
        other = formats.read_image([Path(get_testdata_file(f"MR_small_{name}.dcm"))])
        assert np.array_equal(plain.array, other.array), name
    assert JPEG2000Lossless.is_compressed


def test_low_values_are_dark_in_every_picture(tmp_path: Path) -> None:
    def change(one, z):
        del one.ImagePositionPatient
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME1", 0
        one.BitsStored, one.HighBit = 12, 11

    array = noise((1, 12, 10))
    series(tmp_path / "x", array, modality="MR", change=change)
    volume = formats.read_image([next((tmp_path / "x").iterdir())])
    assert np.array_equal(volume.array[0], 4095 - array)
    assert volume.geometry.dims == 2
    assert volume.geometry.spacing == (1.0, 0.7, 0.8)


def test_nothing_of_the_patient_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    """pydicom would warn of a name that is too long, and quote it."""
    mixed(tmp_path / "disc")
    for file in (tmp_path / "disc").iterdir():
        if dicom.has_magic(file):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one = pydicom.dcmread(file)
                one.PatientName = PATIENT * 5
                one.add_new(0x00081030, "LO", f"{PATIENT}" * 9)
                one.save_as(file)
    with warnings.catch_warnings(record=True) as told, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        dataset = recognize(tmp_path / "disc")
        for case in dataset.cases:
            formats.read_image(case.images)
    written = capfd.readouterr()
    everything = f"{dataset} {[str(w.message) for w in told]} {caplog.text} {written} {index(tmp_path / 'disc')}"
    assert "Quixote" not in everything
    assert "ID4711" not in everything


@pytest.mark.realdata
def test_real_series_read_as_simpleitk_reads_them(real_data: Path) -> None:
    for study in sorted((real_data / "dicom" / "mr_hippocrop").iterdir()):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(study)))
        image, volume = reader.Execute(), formats.read_image([study])
        assert np.array_equal(sitk.GetArrayFromImage(image), volume.array[0])
        assert np.allclose(image.GetOrigin(), volume.geometry.origin)
        assert pydicom.dcmread(study / "1.dcm").SOPClassUID == MR


@pytest.mark.realdata
@pytest.mark.parametrize("size", ["23x38x3", "24x38x3"])
def test_a_real_multiframe_equals_its_slices(real_data: Path, size: str) -> None:
    folder = real_data / "dicom" / "dcmqi_seg" / "segmentations" / size
    slices, frames = formats.read_image([folder / "image"]), formats.read_image([folder / "multiframe" / "mf.dcm"])
    assert np.array_equal(slices.array, frames.array)
    assert np.allclose(slices.geometry.origin, frames.geometry.origin)
    assert slices.geometry.spacing == frames.geometry.spacing


@pytest.mark.realdata
def test_real_slides_and_reports_are_refused_in_one_line(real_data: Path) -> None:
    folder = real_data / "dicom" / "highdicom_test_files"
    for name, message in (("sm_image.dcm", "whole-slide"), ("sr_document.dcm", "no image but SR")):
        assert message in refusal(folder / name)
    assert formats.read_image([folder / "dx_image.dcm"]).geometry.dims == 2
    assert [case.name for case in scans(folder)] == ["ct_image"]
