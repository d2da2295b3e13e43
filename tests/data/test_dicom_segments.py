"""DICOM segmentations are labels on the grid of their image, and masks are written as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from making_dicom import OBLIQUE, SAGITTAL, enhanced, noise, segmentation, series
from paucis.data import dicom, formats
from paucis.data.case import Geometry, Grid
from paucis.data.layouts import recognize
from paucis.data.segment_codes import codes_of
from paucis.errors import PaucisError

SHAPE = (6, 12, 10)
LABELS = ("organ", "tumor")


def boxes() -> np.ndarray:
    """Two overlapping segments, (Z, Y, X, 2)."""
    masks = np.zeros((*SHAPE, 2))
    masks[1:5, 2:9, 2:8, 0] = 1
    masks[2:4, 6:11, 5:9, 1] = 1
    return masks


def resolved() -> np.ndarray:
    masks = boxes()
    return np.where(masks[..., 1] > 0, 2, masks[..., 0]).astype(int)


def on(folder: Path):
    return lambda: formats.read_grid([folder])


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), SAGITTAL, OBLIQUE])
@pytest.mark.parametrize("reverse", [False, True])
def test_overlapping_segments_go_to_the_highest_number(tmp_path: Path, orientation, reverse: bool) -> None:
    series(tmp_path / "ct", orientation=orientation)
    segmentation(tmp_path / "seg.dcm", tmp_path / "ct", boxes(), LABELS, reverse=reverse)
    label = formats.read_label(tmp_path / "seg.dcm", on(tmp_path / "ct"))
    assert np.array_equal(label.array[0], resolved())
    image = formats.read_image([tmp_path / "ct"])
    assert label.geometry == image.geometry


def test_fractions_count_from_one_half_and_the_largest_wins(tmp_path: Path) -> None:
    fractions = np.zeros((*SHAPE, 2))
    fractions[0, 0] = [0.3, 0.4]
    fractions[1, 1] = [0.6, 0.3]
    fractions[2, 2] = [0.55, 0.45]
    fractions[3, 3] = [0.45, 0.55]
    fractions[4, 4] = [0.2, 0.8]
    series(tmp_path / "ct")
    segmentation(tmp_path / "seg.dcm", tmp_path / "ct", fractions, LABELS, fractional=True)
    label = formats.read_label(tmp_path / "seg.dcm", on(tmp_path / "ct")).array[0]
    assert [np.unique(label[z, z]).tolist() for z in range(5)] == [[0], [1], [1], [2], [2]]
    assert (label > 0).sum() == 4 * SHAPE[2]


def test_without_an_image_a_segmentation_has_the_grid_of_its_frames(tmp_path: Path) -> None:
    series(tmp_path / "ct", orientation=OBLIQUE)
    segmentation(tmp_path / "seg.dcm", tmp_path / "ct", boxes(), LABELS)
    label = formats.read_label(tmp_path / "seg.dcm")
    assert np.array_equal(label.array[0], resolved()[1:5])
    first = np.array((-11.0, 5.0, 30.0)) + 2.5 * np.cross(OBLIQUE[:3], OBLIQUE[3:])
    assert label.geometry.origin == pytest.approx(tuple(first))


def test_an_image_of_other_axes_gets_the_same_voxels_in_space(tmp_path: Path) -> None:
    """An image whose axes run (x, y, z) = (-row, slice, column) of the segmentation's."""
    series(tmp_path / "ct", spacing=(2.5, 0.7, 0.8))
    segmentation(tmp_path / "seg.dcm", tmp_path / "ct", boxes(), LABELS)
    own = formats.read_label(tmp_path / "seg.dcm", on(tmp_path / "ct"))
    far = (-11.0 + 9 * 0.8, 5.0, 30.0)
    turned = Geometry(spacing=(0.7, 2.5, 0.8), origin=far, direction=(-1, 0, 0, 0, 0, 1, 0, 1, 0))
    other = formats.read_label(tmp_path / "seg.dcm", lambda: Grid((12, 6, 10), turned))
    assert np.array_equal(other.array[0].transpose(1, 0, 2)[:, :, ::-1], own.array[0])


GRIDS = {
    "spacing": (SHAPE, Geometry(spacing=(2.5, 0.7, 0.7), origin=(-11, 5, 30)), "Pixel Spacing (0028,0030)"),
    "between": (SHAPE, Geometry(spacing=(2.5, 0.7, 0.8), origin=(-11, 5, 31)), "1 mm between the voxels"),
    "outside": ((3, 12, 10), Geometry(spacing=(2.5, 0.7, 0.8), origin=(-11, 5, 30)), "outside its image"),
    "turned": (SHAPE, Geometry((2.5, 0.7, 0.8), (-11, 5, 30), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)), "(0020,0037)"),
}


@pytest.mark.parametrize("fault", GRIDS)
def test_a_segmentation_of_another_grid_is_refused(tmp_path: Path, fault: str) -> None:
    series(tmp_path / "ct")
    segmentation(tmp_path / "seg.dcm", tmp_path / "ct", boxes(), LABELS)
    shape, geometry, message = GRIDS[fault]
    with pytest.raises(PaucisError) as caught:
        formats.read_label(tmp_path / "seg.dcm", lambda: Grid(shape, geometry))
    assert message in str(caught.value)
    assert str(tmp_path / "seg.dcm") in str(caught.value)


def test_segmentations_find_their_series_by_reference(tmp_path: Path) -> None:
    for name in "ab":
        series(tmp_path / "scans" / name)
        segmentation(tmp_path / "scans" / "results" / f"{name}{name}.dcm", tmp_path / "scans" / name, boxes(), LABELS)
    series(tmp_path / "scans" / "c")
    dataset = recognize(tmp_path / "scans")
    assert dataset.classes == ("background", "organ", "tumor")
    assert dataset.values == (0, 1, 2)
    assert dataset.channels == ("CT",)
    labels = {case.name: case.label and case.label.name for case in dataset.cases}
    assert labels == {"a": "aa.dcm", "b": "bb.dcm", "c": None}
    assert codes_of(dataset)["organ"]["type"] == ["10200004", "SCT", "Liver"]


def test_segments_are_told_by_label_where_numbers_differ(tmp_path: Path) -> None:
    for name, labels in (("a", LABELS), ("b", LABELS[::-1])):
        series(tmp_path / name)
        segmentation(tmp_path / f"{name}.dcm", tmp_path / name, boxes(), labels)
    dataset = recognize(tmp_path)
    assert dataset.classes == ("background", "organ", "tumor")
    first, second = (formats.read_label(case.label, on(case.images[0])).array[0] for case in dataset.cases)
    assert np.array_equal(first, resolved())
    assert np.array_equal(second, np.array([0, 2, 1])[resolved()])


def test_named_classes_give_segments_their_values(tmp_path: Path) -> None:
    series(tmp_path / "images" / "a")
    segmentation(tmp_path / "masks" / "a.dcm", tmp_path / "images" / "a", boxes(), LABELS)
    (tmp_path / "dataset.json").write_text(
        '{"labels": {"background": 0, "Tumor": 5, "organ": 7}, "channel_names": {"0": "CT"},'
        ' "segments": {"organ": {"type": ["80891009", "SCT", "Heart"]}}}'
    )
    dataset = recognize(tmp_path)
    assert dataset.values == (0, 5, 7)
    label = formats.read_label(dataset.cases[0].label, on(tmp_path / "images" / "a"))
    assert np.array_equal(label.array[0], np.array([0, 7, 5])[resolved()])
    assert codes_of(dataset)["organ"] == {"type": ["80891009", "SCT", "Heart"]}


def test_masks_of_other_formats_lie_beside_series(tmp_path: Path) -> None:
    for name in "abc":
        series(tmp_path / "images" / name)
    volume = formats.read_image([tmp_path / "images" / "a"])
    formats.write_mask(tmp_path / "masks" / "a.nii.gz", resolved(), volume.geometry)
    formats.write_mask(tmp_path / "masks" / "b_seg.nrrd", resolved(), volume.geometry)
    labels = [case.label for case in recognize(tmp_path).cases]
    assert labels == [tmp_path / "masks" / "a.nii.gz", tmp_path / "masks" / "b_seg.nrrd", None]
    series(tmp_path / "other" / "x" / "scan")
    formats.write_mask(tmp_path / "other" / "x" / "drawn.nii.gz", resolved(), volume.geometry)
    (case,) = recognize(tmp_path / "other").cases
    assert (case.name, case.label) == ("x", tmp_path / "other" / "x" / "drawn.nii.gz")


def test_two_masks_of_one_series_are_refused(tmp_path: Path) -> None:
    series(tmp_path / "a")
    for name in ("one.dcm", "two.dcm"):
        segmentation(tmp_path / name, tmp_path / "a", boxes(), LABELS)
    with pytest.raises(PaucisError, match="are both masks of 'a': keep one"):
        recognize(tmp_path)


def test_a_segmentation_of_another_frame_of_reference_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "a")
    segmentation(tmp_path / "seg.dcm", tmp_path / "a", boxes(), LABELS)
    one = pydicom.dcmread(tmp_path / "seg.dcm")
    one.FrameOfReferenceUID = "1.2.3"
    one.save_as(tmp_path / "seg.dcm")
    with pytest.raises(PaucisError, match=r"Frame of Reference UID \(0020,0052\)"):
        recognize(tmp_path)


def places_of(path: Path) -> set[tuple[int, tuple[float, ...]]]:
    """Marked voxels of a segmentation, (segment, mm), by pydicom and nothing of paucis."""
    one = pydicom.dcmread(path)
    shared = one.SharedFunctionalGroupsSequence[0]
    turned = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, right = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = one.pixel_array.reshape(-1, one.Rows, one.Columns)
    found = set()
    for item, content in zip(one.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        start = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(content):
            point = start + column * right * turned[:3] + row * down * turned[3:]
            found.add((number, tuple(np.round(point, 2) + 0.0)))
    return found


def expected_places(folder: Path, mask: np.ndarray) -> set[tuple[int, tuple[float, ...]]]:
    """The same of an array, through SimpleITK's geometry of the series."""
    geometry = formats.read_geometry(folder)
    turn = np.reshape(geometry.direction, (3, 3))
    found = set()
    for z, y, x in np.argwhere(mask):
        point = turn @ (np.array([x, y, z]) * geometry.spacing[::-1]) + geometry.origin
        found.add((int(mask[z, y, x]), tuple(np.round(point, 2) + 0.0)))
    return found


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), SAGITTAL, OBLIQUE])
def test_a_written_segmentation_lies_where_the_mask_lies(tmp_path: Path, orientation) -> None:
    series(tmp_path / "ct", orientation=orientation)
    classes = ("background", "liver", "Strange thing of unusual length")
    codes = {"liver": {"type": ["1", "99TEST", "Own"], "category": ["2", "99TEST", "Kind"]}}
    formats.write_segmentation(tmp_path / "out.dcm", resolved(), tmp_path / "ct", classes, codes)
    assert places_of(tmp_path / "out.dcm") == expected_places(tmp_path / "ct", resolved())
    one = pydicom.dcmread(tmp_path / "out.dcm")
    source = pydicom.dcmread(next((tmp_path / "ct").iterdir()), stop_before_pixels=True)
    for key in ("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientName"):
        assert one[key].value == source[key].value
    assert one.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    referred = {item.ReferencedSOPInstanceUID for item in one.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    sources = {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / "ct").iterdir()}
    assert referred <= sources
    assert [item.SegmentLabel for item in one.SegmentSequence] == list(classes[1:])
    liver, strange = (item.SegmentedPropertyTypeCodeSequence[0] for item in one.SegmentSequence)
    assert (liver.CodeValue, liver.CodeMeaning) == ("1", "Own")
    assert strange.CodingSchemeDesignator == "99PAUCIS"
    assert one.SegmentsOverlap == "NO"
    for item in one.PerFrameFunctionalGroupsSequence:  # each frame refers to the slice of its place
        refers = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = [
            header.ImagePositionPatient
            for file in (tmp_path / "ct").iterdir()
            if (header := pydicom.dcmread(file, stop_before_pixels=True)).SOPInstanceUID == refers
        ]
        assert np.allclose(place[0], item.PlanePositionSequence[0].ImagePositionPatient)


def test_anatomy_is_coded_by_its_name(tmp_path: Path) -> None:
    series(tmp_path / "ct")
    formats.write_segmentation(
        tmp_path / "o.dcm", resolved(), tmp_path / "ct", ("background", "left_atrium", "ant"), {}
    )
    known, own = pydicom.dcmread(tmp_path / "o.dcm").SegmentSequence
    assert known.SegmentedPropertyTypeCodeSequence[0].CodeValue == "82471001"
    assert own.SegmentedPropertyTypeCodeSequence[0].CodeValue == "ant"


def test_an_empty_mask_and_a_multiframe_source_are_written(tmp_path: Path) -> None:
    enhanced(tmp_path / "frames.dcm", noise())
    classes = ("background", "organ", "tumor")
    for mask in (np.zeros(SHAPE, int), resolved()):
        formats.write_segmentation(tmp_path / "out.dcm", mask, tmp_path / "frames.dcm", classes, {})
        back = formats.read_label(tmp_path / "out.dcm", on(tmp_path / "frames.dcm"))
        assert np.array_equal(back.array[0], mask)
    assert places_of(tmp_path / "out.dcm") == expected_places(tmp_path / "frames.dcm", resolved())


def test_a_source_without_frame_of_reference_is_named(tmp_path: Path) -> None:
    series(tmp_path / "ct", change=lambda one, z: one.__delattr__("FrameOfReferenceUID"))
    with pytest.raises(dicom.UnfitSourceError, match=r"Frame of Reference UID \(0020,0052\)"):
        formats.write_segmentation(tmp_path / "o.dcm", resolved(), tmp_path / "ct", ("background", *LABELS), {})
    assert not (tmp_path / "o.dcm").exists()


def test_two_segmentations_meet_on_one_grid(tmp_path: Path) -> None:
    series(tmp_path / "ct")
    paths = []
    for name, mask in (("a.dcm", resolved()), ("b.dcm", np.roll(resolved(), 1, axis=0))):
        formats.write_segmentation(tmp_path / name, mask, tmp_path / "ct", ("background", *LABELS), {})
        paths.append(tmp_path / name)
    first, second = dicom.read_masks(paths)
    assert first.geometry == second.geometry
    assert np.array_equal(first.array[0], resolved()[1:])
    assert np.array_equal(second.array[0], np.roll(resolved(), 1, axis=0)[1:])


@pytest.mark.realdata
@pytest.mark.parametrize("size", ["23x38x3", "24x38x3"])
def test_real_binary_segmentations_equal_their_nrrd(real_data: Path, size: str) -> None:
    folder = real_data / "dicom" / "dcmqi_seg" / "segmentations" / size
    label = formats.read_label(folder / "seg" / "label.seg", on(folder / "image"))
    expected = formats.read_label(folder / "nrrd" / "label.nrrd")
    assert np.array_equal(label.array, expected.array)
    assert label.geometry.origin == pytest.approx(expected.geometry.origin, abs=1e-4)


@pytest.mark.realdata
def test_real_overlaps_go_to_the_highest_number(real_data: Path) -> None:
    folder = real_data / "dicom" / "dcmqi_seg" / "segmentations"
    label = formats.read_label(folder / "partial_overlaps.dcm", on(folder / "ct-3slice")).array[0]
    one = pydicom.dcmread(folder / "partial_overlaps.dcm")
    highest = np.zeros(label.shape, int)
    for item, content in zip(one.PerFrameFunctionalGroupsSequence, one.pixel_array, strict=True):
        z = round(float(item.PlanePositionSequence[0].ImagePositionPatient[2]) + 128.690002)
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        highest[z] = np.maximum(highest[z], number * content)
    assert np.array_equal(label, highest)
    assert len(np.unique(label)) == 6


@pytest.mark.realdata
def test_real_label_maps_equal_their_nrrd(real_data: Path) -> None:
    """One marks its background with Pixel Padding Value, the other does not; both leave slices out."""
    folder = real_data / "dicom" / "dcmqi_seg" / "segmentations"
    for name in ("noppv", "ppv5"):
        label = formats.read_label(folder / f"sparse-labelmap-{name}.dcm", on(folder / "24x38x3" / "image")).array[0]
        expected = formats.read_label(folder / f"sparse_labelmap_{name}_seg.nrrd").array[0]
        assert label.shape == (3, 38, 24)
        assert (label > 0).sum() == (expected == 1).sum() > 0


@pytest.mark.realdata
def test_real_fractional_segmentations_are_read(real_data: Path) -> None:
    folder = real_data / "dicom" / "highdicom_test_files"
    binary = formats.read_label(folder / "seg_image_ct_binary.dcm").array
    assert np.array_equal(formats.read_label(folder / "seg_image_ct_binary_fractional.dcm").array, binary)
    one = pydicom.dcmread(folder / "seg_image_ct_true_fractional.dcm")
    label = formats.read_label(folder / "seg_image_ct_true_fractional.dcm").array
    assert (label > 0).sum() == (one.pixel_array / one.MaximumFractionalValue >= 0.5).sum()
    with pytest.raises(PaucisError, match="whole-slide"):
        formats.read_label(folder / "seg_image_sm_dots.dcm")


@pytest.mark.realdata
def test_a_mask_of_a_real_picture_is_written_and_read_back(real_data: Path, tmp_path: Path) -> None:
    picture = real_data / "dicom" / "highdicom_test_files" / "dx_image.dcm"
    mask = np.zeros((1, 169, 211), int)
    mask[0, 20:60, 30:80] = 1
    formats.write_segmentation(tmp_path / "seg.dcm", mask, picture, ("background", "Lung"), {})
    assert np.array_equal(formats.read_label(tmp_path / "seg.dcm", on(picture)).array[0], mask)


@pytest.mark.realdata
def test_a_mask_of_a_real_series_is_written_and_read_back(real_data: Path, tmp_path: Path) -> None:
    study = real_data / "dicom" / "mr_hippocrop" / "Study1"
    mask = np.zeros((32, 51, 35), int)
    mask[5:20, 10:30, 8:20], mask[12:25, 25:40, 15:30] = 1, 2
    classes = ("background", "Hippocampus", "posterior")
    formats.write_segmentation(tmp_path / "seg.dcm", mask, study, classes, {})
    assert places_of(tmp_path / "seg.dcm") == expected_places(study, mask)
    assert np.array_equal(formats.read_label(tmp_path / "seg.dcm", on(study)).array[0], mask)
