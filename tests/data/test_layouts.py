"""Each layout is recognised by what lies in the folder, and says what belongs to whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from paucis.data.layouts import discover_values, ignored, name_classes, recognize, scans, with_classes
from paucis.errors import PaucisError


def nifti(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 3, 4), value, np.uint8)), str(path))


def picture(path: Path, values: Sequence[int] = (0, 255), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), (4, 6))).convert(mode).save(path)


def h5(path: Path, shape: tuple[int, ...] = (2, 3, 4), label: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros(shape, np.float32)
        if label:
            file["label"] = np.zeros(shape, np.uint8)


def describe(root: Path, **content: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(content))


def names(root: Path) -> list[str]:
    return [case.name for case in recognize(root).cases]


def decathlon(root: Path, **changes: Any) -> None:
    for name in ("b", "a", "c"):
        nifti(root / f"imagesTr/{name}.nii.gz")
    for name in ("b", "a"):
        nifti(root / f"labelsTr/{name}.nii.gz", 1)
        (root / f"imagesTr/._{name}.nii.gz").write_bytes(b"macOS")
    nifti(root / "imagesTs/t.nii.gz")
    listed = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("b", "a")]
    content: dict[str, Any] = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "tumour"},
        "training": [*listed, {"image": "./imagesTr/c.nii.gz"}, {"image": "./imagesTr/._b.nii.gz", "label": "x"}],
        "test": ["./imagesTs/t.nii.gz", "./imagesTs/not_downloaded.nii.gz"],
    }
    describe(root, **{**content, **changes})


def nnunet(root: Path, channels: int = 2, **changes: Any) -> None:
    for name in ("p1", "p2", "p3"):
        for channel in range(channels):
            nifti(root / f"imagesTr/{name}_{channel:04d}.nii.gz")
    for name in ("p1", "p2"):
        nifti(root / f"labelsTr/{name}.nii.gz", 1)
    content: dict[str, Any] = {
        "channel_names": {str(index): f"T{index}" for index in range(channels)},
        "labels": {"background": 0, "core": 2, "edema": 1, "ignore": 3},
        "file_ending": ".nii.gz",
    }
    describe(root, **{**content, **changes})


def test_msd_follows_its_lists(tmp_path: Path) -> None:
    decathlon(tmp_path)
    dataset = recognize(tmp_path)
    assert (dataset.layout, dataset.channels) == ("msd", ("CT",))
    assert (dataset.classes, dataset.values) == (("background", "liver", "tumour"), (0, 1, 2))
    assert [case.name for case in dataset.cases] == ["b", "a", "c", "t"]
    assert [case.label is not None for case in dataset.cases] == [True, True, False, False]
    assert dataset.cases[0].label == tmp_path / "labelsTr/b.nii.gz"


def test_nnunet_joins_channels_and_leaves_missing_labels_missing(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "splits_final.json").write_text(
        json.dumps([{"train": ["p1"], "val": ["p2"]}, {"train": ["p2"], "val": ["p1"]}])
    )
    dataset = recognize(tmp_path)
    assert (dataset.layout, dataset.channels) == ("nnunet", ("T0", "T1"))
    assert (dataset.classes, dataset.values) == (("background", "edema", "core"), (0, 1, 2))
    assert [file.name for file in dataset.cases[0].images] == ["p1_0000.nii.gz", "p1_0001.nii.gz"]
    assert [case.name for case in dataset.cases if case.label is None] == ["p3"]
    assert dataset.split == ({"train": ("p1",), "val": ("p2",)}, {"train": ("p2",), "val": ("p1",)})
    assert ignored(dataset) == {3}


def test_nnunet_test_images_have_the_role_test_where_they_have_labels(tmp_path: Path) -> None:
    nnunet(tmp_path, channels=1)
    for name in ("q1", "q2"):
        nifti(tmp_path / f"imagesTs/{name}_0000.nii.gz")
    nifti(tmp_path / "labelsTs/q1.nii.gz")
    roles = {case.name: (case.role, case.label is None) for case in recognize(tmp_path).cases}
    assert roles["q1"] == ("test", False)
    assert roles["q2"] == (None, True)


def test_splits_json_gives_roles_and_list_order(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["p3", "p1"], "val": ["p2"]}))
    dataset = recognize(tmp_path)
    assert [case.name for case in dataset.cases] == ["p3", "p1", "p2"]
    assert dataset.split == ({"train": ("p3", "p1"), "val": ("p2",)},)


@pytest.mark.parametrize("content", ["[]", "{}", '{"train": "p1"}', "[1]", '{"train": ["p1", "p9"]}', "{"])
def test_a_broken_shipped_split_is_refused(tmp_path: Path, content: str) -> None:
    nnunet(tmp_path)
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(PaucisError, match=r"splits\.json"):
        recognize(tmp_path)


@pytest.mark.parametrize("folder", ["masks", "labels"])
@pytest.mark.parametrize("addition", ["", "_mask", "_segmentation", "_manual1"])
def test_images_and_masks_pair_by_stem(tmp_path: Path, folder: str, addition: str) -> None:
    for name in ("IMG_0012", "IMG_0014", "x.1"):
        picture(tmp_path / f"images/{name}.jpg", mode="RGB")
    for name in ("IMG_0014", "x.1"):
        picture(tmp_path / f"{folder}/{name}{addition}.png")
    dataset = recognize(tmp_path)
    assert (dataset.layout, dataset.channels, dataset.classes) == ("folders", ("red", "green", "blue"), ())
    assert [(case.name, case.label is not None) for case in dataset.cases] == [
        ("IMG_0012", False), ("IMG_0014", True), ("x.1", True),
    ]  # fmt: skip


def test_masks_that_belong_to_no_image_are_a_mistake(tmp_path: Path) -> None:
    picture(tmp_path / "images/21_training.png")
    picture(tmp_path / "masks/21_manual1.png")
    with pytest.raises(PaucisError, match=r"manifest\.csv"):
        recognize(tmp_path)


def test_numbered_pictures_with_masks_of_their_own_are_no_channels(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / f"images/frame_{index:04d}.png")
        picture(tmp_path / f"masks/frame_{index:04d}.png")
    assert names(tmp_path) == ["frame_0000", "frame_0001", "frame_0002"]


def test_a_plain_folder_is_all_unlabeled(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    nifti(tmp_path / "a.nii.gz")
    (tmp_path / "notes.txt").write_text("text")
    assert [(case.name, case.label) for case in recognize(tmp_path).cases] == [("a", None), ("b", None)]


def test_no_label_is_opened_to_recognise_a_folder(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/a.png").write_bytes(b"not a picture at all")
    dataset = recognize(tmp_path)
    assert dataset.cases[0].label is not None
    with pytest.raises(PaucisError, match=r"masks/a\.png"):
        discover_values(dataset.cases)
    assert [case.label for case in scans(tmp_path)] == [None]


def test_a_csv_manifest_reads_channels_patients_and_roles(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "t1", "t2", "m"):
        picture(tmp_path / f"files/{name}.png")
    (tmp_path / "manifest.csv").write_text(
        "Image,image_t2,label,patient,role\n"
        "files/a.png,files/t1.png,files/m.png,P1,train\n"
        "files/b.png;files/t2.png,,,P1,Validation\n"
        "files/c.png;files/t2.png,,files/m.png,P2,unlabeled\n"
    )
    dataset = recognize(tmp_path)
    assert dataset.layout == "manifest"
    assert [len(case.images) for case in dataset.cases] == [2, 2, 2]
    assert [(case.name, case.group, case.role) for case in dataset.cases] == [
        ("a", "P1", "train"), ("b", "P1", "val"), ("c", "P2", "train"),
    ]  # fmt: skip
    assert [case.label is not None for case in dataset.cases] == [True, False, False]
    assert recognize(tmp_path / "manifest.csv") == dataset


def test_a_json_manifest_names_its_classes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    content = {"cases": [{"image": ["a.png"], "name": "first"}], "labels": {"background": 0, "vessel": 255}}
    (tmp_path / "pairs.json").write_text(json.dumps(content))
    dataset = recognize(tmp_path / "pairs.json")
    assert (dataset.cases[0].name, dataset.values, dataset.classes) == ("first", (0, 255), ("background", "vessel"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("label\nx.png\n", "row 1: no image"),
        ("image,role\na.png,trian\n", "row 1: unknown role 'trian'; did you mean 'train'"),
        ("image\n", "lists no case"),
        ("image,name\na.png,x\nb.png,x\n", "names twice"),
    ],
)
def test_a_broken_manifest_names_its_row(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(PaucisError, match=reason):
        recognize(tmp_path)


def test_published_h5_files_become_cases_of_patients(tmp_path: Path) -> None:
    h5(tmp_path / "patient001_frame01.h5")
    h5(tmp_path / "patient001_frame01_slice_10.h5", (3, 4))
    h5(tmp_path / "patient001_frame01_slice_2.h5", (3, 4), label=False)
    h5(tmp_path / "CASE7" / "mri_norm2.h5")
    h5(tmp_path / "CASE8" / "mri_norm2.h5")
    dataset = recognize(tmp_path)
    assert [(case.name, case.group) for case in dataset.cases] == [
        ("CASE7", "CASE7"), ("CASE8", "CASE8"), ("patient001_frame01", "patient001"),
        ("patient001_frame01_slice_2", "patient001"), ("patient001_frame01_slice_10", "patient001"),
    ]  # fmt: skip
    assert [case.name for case in dataset.cases if case.label is None] == ["patient001_frame01_slice_2"]
    assert len(scans(tmp_path)) == 5


def test_the_lists_of_the_literature_give_split_and_order(tmp_path: Path) -> None:
    for name in ("p1_frame01", "p2_frame01"):
        h5(tmp_path / f"data/{name}.h5")
        h5(tmp_path / f"data/slices/{name}_slice_1.h5", (3, 4))
    (tmp_path / "train_slices.list").write_text("p1_frame01_slice_1\n")
    (tmp_path / "train.list").write_text("p1_frame01\n")
    (tmp_path / "val.list").write_text("p2_frame01\n\n")
    dataset = recognize(tmp_path)
    assert dataset.split == ({"train": ("p1_frame01_slice_1",), "val": ("p2_frame01",)},)
    assert [case.name for case in dataset.cases] == ["p1_frame01_slice_1", "p2_frame01"]
    (tmp_path / "val.list").write_text("p3_frame01\n")
    with pytest.raises(PaucisError, match=r"val.list names 'p3_frame01'"):
        recognize(tmp_path)


def test_a_list_may_name_folders(tmp_path: Path) -> None:
    for name in ("A", "B"):
        h5(tmp_path / f"2018LA_Seg_Training Set/{name}/mri_norm2.h5")
    (tmp_path / "train.list").write_text("B\nA/mri_norm2.h5\n")
    assert names(tmp_path) == ["B", "A"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"training": 3}', "'training' is not a list"),
        ('{"training": [{"label": "x"}]}', "entry 0 of 'training' names no image"),
        ('{"training": [], "labels": {"a": [1, 2]}}', "region of several labels"),
        ('{"training": [], "labels": {"a": null}}', "no whole number"),
        ('{"training": [], "labels": {"a": 1, "b": 1}}', "the same value"),
        ('{"training": []}', "holds no image"),
    ],
)
def test_a_broken_dataset_json_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(PaucisError, match=reason):
        recognize(tmp_path)


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="does not exist"):
        recognize(tmp_path / "none")
    with pytest.raises(PaucisError, match="empty folder"):
        recognize(tmp_path)
    (tmp_path / "notes.txt").write_text("text")
    for read in (recognize, scans):
        with pytest.raises(PaucisError, match="holds no scans"):
            read(tmp_path)


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "images/a.bmp")
    for read in (recognize, scans):
        with pytest.raises(PaucisError, match="names twice, such as 'a'"):
            read(tmp_path)


def test_classes_are_those_the_masks_show(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "masks/a.png", (0, 128, 255))
    dataset = recognize(tmp_path)
    assert discover_values(dataset.cases) == (0, 128, 255)
    assert name_classes((0, 128, 255)) == ("background", "class_1", "class_2")
    assert name_classes((0, 255)) == ("background", "foreground")


@pytest.mark.parametrize(
    ("masks", "reason"),
    [([(0, 1), (0, 255)], "255 in that of 'b'"), ([(0,), (0,)], "no label shows any foreground")],
)
def test_masks_without_a_common_meaning_are_refused(tmp_path: Path, masks: list[tuple[int, ...]], reason: str) -> None:
    for name, values in zip("ab", masks, strict=True):
        picture(tmp_path / f"images/{name}.png")
        picture(tmp_path / f"masks/{name}.png", values)
    with pytest.raises(PaucisError, match=reason):
        discover_values(recognize(tmp_path).cases)


def test_classes_named_by_the_dataset_stand(tmp_path: Path) -> None:
    decathlon(tmp_path)
    dataset = recognize(tmp_path)
    assert with_classes(dataset, []) is dataset


def test_scans_are_found_wherever_a_user_points(tmp_path: Path) -> None:
    nnunet(tmp_path)
    assert [(case.name, len(case.images)) for case in scans(tmp_path)] == [("p1", 2), ("p2", 2), ("p3", 2)]
    assert scans(tmp_path / "imagesTr") == scans(tmp_path)
    assert [case.name for case in scans(tmp_path / "imagesTr/p1_0000.nii.gz")] == ["p1"]
    assert [case.name for case in scans(tmp_path / "imagesTr", channels=1)][:2] == ["p1_0000", "p1_0001"]
    with pytest.raises(PaucisError, match="does not exist"):
        scans(tmp_path / "none")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "layout", "cases", "labeled", "channels"),
    [
        ("hippocampus", "msd", 208, 208, ("MRI",)),
        ("acdc", "nnunet", 160, 160, ("cineMRI",)),
        ("la_half", "nnunet", 80, 80, ("LGE-MRI",)),
        ("isic", "folders", 1400, 1400, ("red", "green", "blue")),
        ("jsrt", "folders", 187, 187, ("image",)),
        ("montgomery", "folders", 80, 80, ("image",)),
        ("shenzhen_unlabeled", "folders", 662, 0, ("image",)),
        ("drive", "folders", 20, 0, ("red", "green", "blue")),
        ("published_h5/la", "h5", 4, 4, ("image",)),
        ("published_h5/acdc", "h5", 16, 16, ("image",)),
    ],
)
def test_real_folders_are_recognised(
    real_data: Path, folder: str, layout: str, cases: int, labeled: int, channels: tuple[str, ...]
) -> None:
    dataset = recognize(real_data / folder)
    assert (dataset.layout, len(dataset.cases), dataset.channels) == (layout, cases, channels)
    assert sum(case.label is not None for case in dataset.cases) == labeled
    assert len(scans(real_data / folder)) == cases


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "masks"), [("drive", "1st_manual"), ("chase_db1", "manual1")])
def test_a_manifest_brings_published_vessel_sets_in(real_data: Path, tmp_path: Path, folder: str, masks: str) -> None:
    files = [sorted((real_data / folder / name).iterdir()) for name in ("images", masks)]
    rows = [f"{image},{mask},{image.stem[:8]}" for image, mask in zip(*files, strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label,patient", *rows]))
    dataset = recognize(tmp_path)
    assert len(dataset.cases) == 20
    assert discover_values(dataset.cases[:3]) in ((0, 255), (0, 1))
