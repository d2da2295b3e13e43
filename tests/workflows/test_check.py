"""``check_dataset`` counts what is there and names what is wrong, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from paucis.errors import PaucisError
from paucis.workflows.check import check_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three labeled volumes and an unlabeled one in the layout of nnU-Net."""
    root = tmp_path / "dataset"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(4):
        image = sitk.GetImageFromArray(rng.normal(size=(4 + index, 8, 9)).astype(np.float32))
        image.SetSpacing((1.0, 1.0, 5.0))
        sitk.WriteImage(image, str(root / f"imagesTr/p{index}_a_0000.nii.gz"))
        mask = sitk.GetImageFromArray(rng.integers(0, 2, (4 + index, 8, 9)).astype(np.uint8))
        mask.CopyInformation(image)
        if index < 3:
            sitk.WriteImage(mask, str(root / f"labelsTr/p{index}_a.nii.gz"))
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_a_report_counts_what_is_there(dataset: Path, tmp_path: Path) -> None:
    report = check_dataset(dataset, group="_(.)$", workers=0, store=tmp_path / "store")
    assert (report.layout, report.cases, report.labeled, report.unlabeled, report.dims) == ("nnunet", 4, 3, 1, 3)
    assert report.patients == 1
    assert report.problems == ()
    assert report.sizes is not None
    assert (report.sizes.min, report.sizes.median, report.sizes.max) == ((4, 8, 9), (5.5, 8, 9), (7, 8, 9))
    assert report.spacings is not None
    assert report.spacings.median == (5.0, 1.0, 1.0)
    assert [(found.name, found.value, found.cases) for found in report.classes] == [
        ("background", 0, 3),
        ("organ", 1, 3),
    ]
    assert json.loads(json.dumps(report.as_dict()))["classes"][1]["voxels"] == report.classes[1].voxels


def test_every_damaged_file_is_named(dataset: Path, tmp_path: Path) -> None:
    broken, moved = dataset / "imagesTr/p0_a_0000.nii.gz", dataset / "labelsTr/p1_a.nii.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    mask = sitk.ReadImage(str(moved))
    mask.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(mask, str(moved))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(dataset / "labelsTr/other.nii.gz"))
    report = check_dataset(dataset, workers=0, store=tmp_path / "store")
    assert [Path(problem.file).name for problem in report.errors] == [broken.name, moved.name]
    assert [Path(problem.file).name for problem in report.warnings] == ["other.nii.gz"]
    assert report.unreadable == 1
    assert "copy or download it again" in str(report.errors[0])


def test_masks_that_disagree_are_reported_not_raised(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for name, high in (("a", 1), ("b", 255)):
        array = np.random.default_rng(high).integers(0, 2, (6, 7)).astype(np.uint8)
        Image.fromarray(array * 99).save(tmp_path / f"set/images/{name}.png")
        Image.fromarray(array * high).save(tmp_path / f"set/masks/{name}.png")
    [problem] = check_dataset(tmp_path / "set", workers=0, store=tmp_path / "store").problems
    assert "save all masks alike" in str(problem)


def test_mask_folders_of_another_name_are_pointed_out(tmp_path: Path) -> None:
    for folder in ("images", "1st_manual"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(np.eye(5, dtype=np.uint8)).save(tmp_path / f"set/{folder}/a.png")
    report = check_dataset(tmp_path / "set", workers=0, store=tmp_path / "store")
    assert (report.labeled, report.classes, report.spacings) == (0, (), None)
    assert ["1st_manual is not read" in str(p).replace(": the folder", "") for p in report.warnings] == [True]


def test_no_dataset_is_raised(tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="does not exist"):
        check_dataset(tmp_path / "none")


@pytest.mark.realdata
def test_two_patients_of_the_real_stacks_are_one_image(real_data: Path, tmp_path: Path) -> None:
    report = check_dataset(real_data / "acdc", group=r"patient\d+", store=tmp_path)
    assert (report.cases, report.patients, report.errors) == (160, 80, ())
    assert [problem.message for problem in report.warnings] == [
        f"the same image as case 'patient074_frame{frame}', with another label" for frame in ("01", "12")
    ]


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["hippocampus", "la_half", "isic", "jsrt", "montgomery", "published_h5/la"])
def test_real_folders_are_sound(real_data: Path, tmp_path: Path, folder: str) -> None:
    report = check_dataset(real_data / folder, store=tmp_path)
    assert report.problems == ()
    assert report.labeled == report.cases
