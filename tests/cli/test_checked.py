"""The page that ``paucis check`` prints tells what there is at a glance, and every kind of problem once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from paucis.cli.checked import checked
from paucis.data.problems import Problem
from paucis.workflows.check import ClassFound, Range, Report

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
