"""Pictures: each publisher's layout in miniature becomes a dataset that checks, and trains two steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bringing import converted, read, trained, unpacked
from miniatures import colors, disk, jsrt, runs, save, siim
from PIL import Image

from paucis.data.layouts import recognize
from paucis.datasets import shipped
from paucis.datasets.readers.chest import decode
from paucis.errors import PaucisError
from paucis.workflows.prepare import prepare

UNLABELED = ("chestxray8", "kaggle-dr", "vessel-shapes")
NAMES = [name for name, dataset in shipped().items() if dataset.area != "volumes"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def mask(dataset: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(dataset / "masks" / f"{name}.png"))


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_gives_a_dataset_without_problems(name: str, sources: Path, tmp_path: Path) -> None:
    for protocol in shipped()[name].protocols:
        report = converted(name, unpacked(name, sources), tmp_path / protocol.name, protocol.name)
        assert (report.labeled == 0) == (name in UNLABELED)
        assert report.dims == 2


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNLABELED])
def test_a_prepared_dataset_trains_two_steps(name: str, sources: Path, tmp_path: Path) -> None:
    converted(name, unpacked(name, sources), tmp_path / "data")
    trained(tmp_path / "data", tmp_path / "run", "data.size=32,32")


@pytest.mark.parametrize("name", UNLABELED)
def test_pictures_without_masks_are_one_unlabeled_pool(name: str, sources: Path, tmp_path: Path) -> None:
    converted(name, unpacked(name, sources), tmp_path / "data")
    dataset = recognize(tmp_path / "data")
    assert all(case.label is None for case in dataset.cases)
    assert not dataset.split


@pytest.mark.parametrize(
    "name", ["chestxray8", *(pytest.param(name, marks=pytest.mark.heavy) for name in UNLABELED[1:])]
)
def test_pictures_without_masks_pretrain_two_steps(name: str, sources: Path, tmp_path: Path) -> None:
    converted(name, unpacked(name, sources), tmp_path / "data")
    trained(tmp_path / "data", tmp_path / "run", "data.size=32,32", command="pretrain")


def test_isic_leaves_other_parts_out(sources: Path, tmp_path: Path) -> None:
    source = unpacked("isic2017", sources)
    assert converted("isic2017", source, tmp_path / "a").split == ({"train": 4, "val": 0, "test": 4},)
    assert converted("isic2017", source, tmp_path / "b", "official").split == ({"train": 4, "val": 4, "test": 4},)


def test_ph2_tests_what_isic_trained(sources: Path, tmp_path: Path) -> None:
    converted("ph2", unpacked("ph2", sources), tmp_path / "data")
    split = json.loads((tmp_path / "data" / "splits.json").read_text())
    assert {name[:4] for name in split["train"]} == {"ISIC"}
    assert {name[:3] for name in split["test"]} == {"IMD"}


def test_ph2_without_isic_says_what_is_missing(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="training part of ISIC 2016"):
        prepare("ph2", unpacked("ph2-alone", sources), out=tmp_path / "data")


def test_both_lungs_are_one_class(sources: Path, tmp_path: Path) -> None:
    converted("montgomery", unpacked("montgomery", sources), tmp_path / "data")
    left, right = disk(1, radius=0.2), np.roll(disk(1, radius=0.2), 8, 1)
    assert ((mask(tmp_path / "data", "MCUCXR_0001_1") == 255) == (left | right)).all()


def test_pictures_are_copied_as_they_are_where_nothing_is_done(sources: Path, tmp_path: Path) -> None:
    source = unpacked("isic2016", sources)
    converted("isic2016", source, tmp_path / "data")
    original = next(source.rglob("ISIC_0000001.jpg"))
    assert (tmp_path / "data" / "images" / "ISIC_0000001.jpg").read_bytes() == original.read_bytes()


def test_gray_pictures_come_as_one_channel_whatever_they_were_saved_as(sources: Path, tmp_path: Path) -> None:
    converted("chestxray8", unpacked("chestxray8", sources), tmp_path / "data")
    modes = {Image.open(path).mode for path in (tmp_path / "data" / "images").iterdir()}
    assert modes == {"L"}
    patients = {case.group for case in recognize(tmp_path / "data").cases}
    assert patients == {"00000001", "00000002"}


def test_raw_radiographs_are_inverted_and_their_structures_painted_in_order(sources: Path, tmp_path: Path) -> None:
    source = unpacked("jsrt", sources)
    converted("jsrt", source, tmp_path / "data")
    image = np.asarray(Image.open(tmp_path / "data" / "images" / "JPCLN001.png"))
    assert (image.shape, image.dtype) == ((1024, 1024), np.uint8)
    assert image[400, 700] == 0  # bright in the raw file
    assert image[400, 100] == 255
    label = mask(tmp_path / "data", "JPCLN001")
    assert label[500, 790] == 2  # left lung
    assert label[500, 600] == 3  # heart over left lung
    assert label[320, 790] == 5  # left clavicle over left lung
    converted("jsrt", source, tmp_path / "lungs", "lungs")
    assert (mask(tmp_path / "lungs", "JPCLN001") > 0)[160, 390]  # the lung is whole under the clavicle


def test_a_short_raw_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    jsrt(tmp_path / "source", ["JPCLN001", "JPCLN002"])
    path = tmp_path / "source" / "All247images" / "JPCLN002.IMG"
    path.write_bytes(path.read_bytes()[:-2])
    done = prepare("jsrt", tmp_path / "source", out=tmp_path / "data", protocol="heart", partial=True)
    assert "no raw image of 2048x2048" in done.left_out[0].message
    assert done.left_out[0].file == str(path)


def test_runs_are_decoded_as_they_were_counted() -> None:
    wanted = np.random.default_rng(0).random((13, 7)) > 0.6
    assert (decode(runs(wanted), wanted.shape, Path("train-rle.csv")) == wanted).all()


@pytest.mark.parametrize("text", ["5 2 900 3", "5 2 7", "five 2", ""])
def test_broken_runs_are_refused(text: str) -> None:
    with pytest.raises(PaucisError, match=r"train-rle\.csv"):
        decode(text, (10, 10), Path("train-rle.csv"))


def test_several_rows_of_a_picture_are_one_mask_and_pictures_without_one_are_left_out(
    sources: Path, tmp_path: Path
) -> None:
    converted("siim-acr", unpacked("siim-acr", sources), tmp_path / "data")
    assert sorted(path.stem for path in (tmp_path / "data" / "masks").iterdir()) == [f"1.4.{i}" for i in range(4)]
    share = (mask(tmp_path / "data", "1.4.1") > 0).mean()
    assert share == pytest.approx(disk(1).mean(), abs=0.02)


def test_a_listed_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    siim(tmp_path / "source")
    next((tmp_path / "source").rglob("1.4.2.dcm")).unlink()
    with pytest.raises(PaucisError, match=r"1\.4\.2\.dcm: train-rle\.csv lists it"):
        prepare("siim-acr", tmp_path / "source", out=tmp_path / "data")


def test_the_ringing_of_jpeg_masks_is_no_lesion(sources: Path, tmp_path: Path) -> None:
    source = unpacked("digestpath", sources)
    converted("digestpath", source, tmp_path / "data")
    name = "18-00000A_2018-05-10 10_00_01-lv1-100-200-300-400"
    stored = np.asarray(Image.open(source / "tissue-train-pos-v1" / f"{name}_mask.jpg"))
    assert len(np.unique(stored)) > 2
    assert ((mask(tmp_path / "data", name) > 0) == disk(1)).mean() > 0.99
    assert not mask(tmp_path / "data", "18-99999A_x").any()


def test_fundus_pictures_are_cropped_to_their_field(sources: Path, tmp_path: Path) -> None:
    converted("drive", unpacked("drive", sources), tmp_path / "data")
    image = Image.open(tmp_path / "data" / "images" / "21.png")
    assert image.size == (512, 512)
    assert set(np.unique(mask(tmp_path / "data", "21"))) == {0, 255}


def test_pictures_with_a_small_field_are_left_out_by_the_protocol(sources: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, radius in (("1_left", 0.45), ("1_right", 0.2)):
        image = colors(len(name), disk(1, radius=0.1))
        image[~disk(1, radius=radius)] = 2
        save(source / "train" / f"{name}.jpeg", image, quality=95)
    done = prepare("kaggle-dr", source, out=tmp_path / "data", partial=True)
    assert done.dropped == ("1_right",)
    assert done.scans == 1


def test_both_eyes_belong_to_one_patient(sources: Path, tmp_path: Path) -> None:
    report = converted("chase-db1", unpacked("chase-db1", sources), tmp_path / "data", "whole")
    assert (report.cases, report.patients) == (8, 4)
    assert report.split == ({"train": 6, "val": 0, "test": 2},)


def test_the_rim_of_the_disc_surrounds_the_cup_and_one_observer_is_no_majority(sources: Path, tmp_path: Path) -> None:
    converted("drishti-gs", unpacked("drishti-gs", sources), tmp_path / "data")
    label = mask(tmp_path / "data", "drishtiGS_002")
    assert ((label > 0) == disk(2, radius=0.3)).all()
    assert ((label == 2) == disk(2, radius=0.15)).all()


def test_a_picture_without_exudates_has_an_empty_mask(sources: Path, tmp_path: Path) -> None:
    converted("idrid", unpacked("idrid", sources), tmp_path / "data", "exudates")
    assert not mask(tmp_path / "data", "IDRiD_02").any()
    assert mask(tmp_path / "data", "IDRiD_01").any()


def test_stare_reads_what_is_still_compressed(sources: Path, tmp_path: Path) -> None:
    converted("stare", unpacked("stare", sources), tmp_path / "data", "whole")
    assert np.asarray(Image.open(tmp_path / "data" / "images" / "im0002.png")).shape == (40, 40, 3)
    assert read(tmp_path / "data", "im0002")[1].GetSize() == (40, 40)
