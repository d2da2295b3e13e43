"""The page that ``paucis check`` prints tells what there is at a glance, and every kind of problem once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paucis.cli.checked import checked, forecasted
from paucis.data.problems import Problem
from paucis.workflows.check import ClassFound, Range, Report
from paucis.workflows.forecast import Forecast

REPORT = Report(
    root=Path("/data/liver"),
    layout="msd",
    cases=7,
    labeled=5,
    unlabeled=2,
    patients=7,
    unreadable=0,
    channels=("CT",),
    classes=(ClassFound("background", 0, 5, 900, 0.9), ClassFound("liver", 10, 4, 100, 0.1)),
    ignored=(),
    dims=3,
    sizes=Range((20.0, 30.0, 40.0), (22.0, 30.5, 40.0), (25.0, 32.0, 40.0)),
    spacings=Range((5.0, 0.7, 0.7), (5.0, 0.7, 0.7), (5.0, 0.7, 0.7)),
    formats={".nii.gz": 7},
    split=(),
    problems=(),
)


def test_a_sound_dataset_is_a_page_without_problems() -> None:
    assert checked(REPORT).splitlines() == [
        "/data/liver: Medical Segmentation Decathlon",
        "",
        "cases      7: 5 labeled, 2 unlabeled",
        "files      7 .nii.gz (volumes)",
        "channels   CT",
        "size       20 x 30 x 40 to 25 x 32 x 40, median 22 x 30.5 x 40 voxels (Z x Y x X)",
        "spacing    5 x 0.7 x 0.7 mm (Z x Y x X)",
        "",
        "class        value   in labels   voxels     share",
        "background       0      5 of 5      900   90.00 %",
        "liver           10      4 of 5      100   10.00 %",
        "",
        "no problems",
    ]


def test_pictures_have_no_depth_and_no_spacing() -> None:
    sizes = Range((1.0, 64.0, 48.0), (1.0, 64.0, 48.0), (1.0, 64.0, 48.0))
    text = checked(replace(REPORT, dims=2, sizes=sizes, spacings=None))
    assert "size       64 x 48 pixels (height x width)" in text
    assert "spacing" not in text
    assert "lengths are counted in voxels" in checked(replace(REPORT, spacings=None))


def test_ignored_voxels_patients_folds_and_unreadable_files_are_told() -> None:
    ignored = (ClassFound("ignore", 11, 2, 50, 0.0),)
    split = ({"train": 4, "val": 3}, {"train": 3, "val": 4})
    text = checked(replace(REPORT, ignored=ignored, patients=3, split=split, unreadable=1))
    assert "ignore          11      2 of 5       50   not counted" in text
    assert "cases      7: 5 labeled, 2 unlabeled, 1 unreadable" in text
    assert "patients   3" in text
    assert "fold 1     3 train, 4 val" in text


def test_problems_of_one_kind_are_told_together_with_one_remedy() -> None:
    many = [Problem("warning", f"/data/liver/imagesTr/{name}", "is constant", "leave it out") for name in "abcdefg"]
    alone = Problem("error", "/data/liver", "images have 2 channels", "mend 'channel_names'")
    text = checked(replace(REPORT, problems=(alone, *many)))
    assert text.split("\n\n")[3:] == [
        "1 error (training refuses this dataset)\n  /data/liver: images have 2 channels\n    -> mend 'channel_names'",
        "7 warnings (training goes ahead)\n"
        "  imagesTr/a: is constant\n  imagesTr/b: is constant\n  imagesTr/c: is constant\n"
        "  and 4 more (--json lists all)\n    -> leave it out",
    ]


TRAINING = Forecast(
    method="mean_teacher",
    network="vnet",
    device="cpu",
    patch=(64, 64, 80),
    batch_size=2,
    unlabeled_batch_size=4,
    steps=6000,
    step_seconds=0.5,
    validations=5,
    seconds=3100.0,
    memory=3 * 2**29,
    available=8 * 2**30,
    cache=200 * 2**20,
    disk=50 * 2**30,
)


def test_a_training_is_told_by_memory_time_and_disk() -> None:
    assert forecasted(TRAINING).splitlines() == [
        "training   mean_teacher with vnet: 2 labeled and 4 unlabeled crops of 64 x 64 x 80 a step",
        "memory     1.5 GiB of 8.0 GiB that are free, cpu",
        "a step     0.5 s",
        "the run    51.7 min for 6000 steps and 5 validations, which are 100 s of it",
        "disk       at most 200 MiB of 50.0 GiB that are free, for prepared cases",
    ]


def test_a_training_that_does_not_fit_has_no_time() -> None:
    text = forecasted(replace(TRAINING, memory=None, step_seconds=None, seconds=None, unlabeled_batch_size=0))
    assert "memory     more than 8.0 GiB that are free, cpu" in text
    assert "memory ran out" in text
    assert "unlabeled" not in text
    assert "the run" not in text


def test_options_of_a_training_need_one(phantoms: Path, refused: Callable[..., str]) -> None:
    assert "--training" in refused("check", phantoms, "--method", "mean_teacher")


def test_a_training_too_large_is_told_with_the_page_and_refused(
    phantoms: Path, cli: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def forecast(dataset: Path, values: dict[str, object], plugs: tuple[str, ...], recipe: str | None, hooks: object):
        asked.append((values, plugs, recipe))
        return replace(TRAINING, available=2**30, lower={"train.batch_size": "2"}, lowered=2**29)

    monkeypatch.setattr("paucis.workflows.forecast.forecast", forecast)
    done = cli("check", phantoms, "train.steps=70", "--training", "--method", "mean_teacher", "--labels", "2")
    assert asked == [({"method": "mean_teacher", "labels": "2", "train.steps": "70"}, (), None)]
    assert done.code == 2
    assert "cases      8: 5 labeled, 3 unlabeled" in done.out
    assert "training   mean_teacher with vnet" in done.out
    assert done.err.strip().splitlines()[-1] == (
        "paucis: the training takes 1.5 GiB, more than the 1.0 GiB that are free on cpu: "
        "with train.batch_size=2 it takes 0.5 GiB"
    )
