"""Volumes: each publisher's layout in miniature becomes a dataset that checks, and trains two steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from bringing import converted, read, trained, unpacked
from miniatures import disk, pancreas

from paucis.data.layouts import recognize
from paucis.datasets import shipped
from paucis.errors import PaucisError
from paucis.workflows.prepare import prepare

NAMES = [name for name, dataset in shipped().items() if dataset.area == "volumes"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_gives_a_dataset_without_problems(name: str, sources: Path, tmp_path: Path) -> None:
    for protocol in shipped()[name].protocols:
        report = converted(name, unpacked(name, sources), tmp_path / protocol.name, protocol.name)
        assert report.labeled >= 3
        assert all(found.cases for found in report.classes)


def shown(name: str) -> bool:
    """Tasks of the Decathlon have one reader: the one of four channels is tried in any run of the tests."""
    return not name.startswith("msd-") or name == "msd-brain"


@pytest.mark.parametrize(
    "name", [name if shown(name) else pytest.param(name, marks=pytest.mark.heavy) for name in NAMES]
)
def test_a_prepared_dataset_trains_two_steps(name: str, sources: Path, tmp_path: Path) -> None:
    converted(name, unpacked(name, sources), tmp_path / "data")
    trained(tmp_path / "data", tmp_path / "run", "data.patch=8,16,16", "data.dims=3")


def test_the_source_is_left_as_it_was(sources: Path, tmp_path: Path) -> None:
    source = unpacked("acdc", sources)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in source.rglob("*")}
    converted("acdc", source, tmp_path / "data")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in source.rglob("*")} == before


def test_acdc_keeps_the_published_order_of_patients_and_leaves_the_challenges_test_out(
    sources: Path, tmp_path: Path
) -> None:
    converted("acdc", unpacked("acdc", sources), tmp_path / "data")
    dataset = recognize(tmp_path / "data")
    assert [case.group for case in dataset.cases[::2]] == ["patient099", "patient038", "patient050", "patient001"]
    assert dataset.split[0]["test"] == ("patient001_frame01", "patient001_frame09")


@pytest.mark.parametrize("case", ["PANCREAS_0001", "PANCREAS_0002"])
def test_the_label_lies_on_the_pancreas_whichever_way_slices_are_numbered(
    case: str, sources: Path, tmp_path: Path
) -> None:
    """Files are named from the head, numbers run from the feet or from the head, the label's header is mirrored."""
    converted("pancreas-ct", unpacked("pancreas-ct", sources), tmp_path / "data", "aua-whole")
    image, label = read(tmp_path / "data", case)
    array, mask = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label)
    assert image.GetSpacing() == pytest.approx((1, 1, 1), abs=0.02)
    assert image.GetDirection()[8] == 1
    assert image.GetOrigin()[2] == pytest.approx(-200, abs=1)
    assert array.min() == -125  # clipped
    assert array.max() == pytest.approx(60 + int(case[-1]), abs=1)  # Hounsfield units, not what is stored
    assert array[mask > 0].mean() > array[mask == 0].mean() + 100
    assert np.argwhere(mask).mean(0) == pytest.approx(np.argwhere(array > 0).mean(0), abs=0.7)
    assert np.argwhere(mask)[:, 0].mean() * 1.0 == pytest.approx(1.5 * 4.5 - 0.25, abs=1)  # slices 3 to 5 of the feet


@pytest.mark.parametrize("name", ["pancreas-ct", "pancreas-h5"])
def test_the_withdrawn_pancreas_cases_are_left_out(name: str, sources: Path, tmp_path: Path) -> None:
    converted(name, unpacked(name, sources), tmp_path / "data")
    names = [case.name for case in recognize(tmp_path / "data").cases]
    assert not {"PANCREAS_0025", "PANCREAS_0070"} & set(names)
    assert len(names) == (5 if name == "pancreas-ct" else 4)


def test_slices_that_are_not_numbered_along_their_place_are_refused(tmp_path: Path) -> None:
    pancreas(tmp_path / "source", cases=[1, 3])
    file = next((tmp_path / "source").rglob("PANCREAS_0001/**/1-005.dcm"))
    header = pydicom.dcmread(file)
    header.InstanceNumber = 40
    header.save_as(file)
    done = prepare("pancreas-ct", tmp_path / "source", out=tmp_path / "data", protocol="aua-whole", partial=True)
    assert any("does not count its slices" in problem.message for problem in done.left_out)
    assert done.scans == 1


def test_a_second_series_of_a_case_is_named(tmp_path: Path) -> None:
    pancreas(tmp_path / "source", cases=[1, 3])
    (series,) = {path.parent for path in (tmp_path / "source").rglob("PANCREAS_0003/**/*.dcm")}
    shutil.copytree(series, series.with_name("series-again"))
    done = prepare("pancreas-ct", tmp_path / "source", out=tmp_path / "data", protocol="aua-whole", partial=True)
    told = [problem for problem in done.left_out if "a second series of case 0003" in problem.message]
    assert [problem.file for problem in told] == [f"{series}-again"]
    assert done.scans == 2


def test_a_label_of_another_scan_is_refused(tmp_path: Path) -> None:
    pancreas(tmp_path / "source", cases=[1, 2])
    labels = tmp_path / "source" / "TCIA_pancreas_labels-02-05-2017"
    label = sitk.ReadImage(str(labels / "label0001.nii.gz"))
    flipped = sitk.GetImageFromArray(sitk.GetArrayFromImage(label)[:, ::-1].copy())
    sitk.WriteImage(flipped, str(labels / "label0001.nii.gz"))
    done = prepare("pancreas-ct", tmp_path / "source", out=tmp_path / "data", protocol="aua-whole", partial=True)
    assert any("lies on soft tissue" in problem.message for problem in done.left_out)
    assert done.scans == 1


def test_a_missing_slice_is_noticed(tmp_path: Path) -> None:
    pancreas(tmp_path / "source", cases=[1, 2])
    next((tmp_path / "source").rglob("PANCREAS_0001/**/1-005.dcm")).unlink()
    done = prepare("pancreas-ct", tmp_path / "source", out=tmp_path / "data", protocol="aua-whole", partial=True)
    assert any("1 slice is missing" in problem.message for problem in done.left_out)


def test_a_protocol_that_crops_around_the_label_says_so_and_another_does_without(sources: Path, tmp_path: Path) -> None:
    source = unpacked("la", sources)
    cropped = prepare("la", source, out=tmp_path / "crop", partial=True)
    whole = prepare("la", source, out=tmp_path / "whole", protocol="whole", partial=True)
    assert "uses the ground truth" in cropped.about
    assert "whole scans" in whole.about
    assert read(tmp_path / "whole", "A")[0].GetSize() == (44, 40, 10)


def test_h5_volumes_of_the_atrium_stand_upright(sources: Path, tmp_path: Path) -> None:
    converted("la-h5", unpacked("la-h5", sources), tmp_path / "data")
    image, label = read(tmp_path / "data", "A")
    assert image.GetSize() == (28, 24, 8)  # (X, Y, Z), as the file has them
    assert image.GetSpacing() == (0.625, 0.625, 0.625)
    assert (sitk.GetArrayFromImage(label) > 0).tolist() == disk(2, (28, 24, 8), 0.3).transpose(2, 1, 0).tolist()


def test_the_whole_tumor_joins_all_its_parts(sources: Path, tmp_path: Path) -> None:
    source = unpacked("brats2019", sources)
    whole, parts = (
        converted("brats2019", source, tmp_path / name, name).classes for name in ("whole-tumor", "regions")
    )
    assert [found.name for found in whole] == ["background", "whole tumor"]
    assert whole[1].voxels == sum(found.voxels for found in parts[1:])


def test_another_task_of_the_decathlon_is_refused(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match=r"lists 'hippocampus_001', not la_001"):
        prepare("msd-heart", unpacked("msd-hippocampus", sources), out=tmp_path / "data", partial=True)


def test_test_images_of_the_decathlon_join_only_when_asked_for(sources: Path, tmp_path: Path) -> None:
    source = unpacked("msd-prostate", sources)
    assert converted("msd-prostate", source, tmp_path / "folds").unlabeled == 0
    assert converted("msd-prostate", source, tmp_path / "pool", "pool").unlabeled == 1
