"""``paucis compare`` through the entry point."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.phantoms import labels

from paucis.data.case import Geometry
from paucis.data.formats import write_map, write_mask

SHAPE, GEOMETRY = (3, 16, 20), Geometry(spacing=(3.0, 1.0, 1.0))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Six references with images, and two sets of predictions: one near, one far."""
    for number in range(6):
        truth = labels(SHAPE, number)
        image = truth + np.random.default_rng(number).normal(0, 0.4, SHAPE)
        write_map(tmp_path / "data" / "imagesTr" / f"s{number}.nii.gz", image.astype(np.float32), GEOMETRY)
        write_mask(tmp_path / "data" / "labelsTr" / f"s{number}.nii.gz", truth, GEOMETRY)
        for name, shift in (("near", 1), ("far", 3)):
            write_mask(tmp_path / name / f"s{number}.nii.gz", np.roll(truth, shift, 2), GEOMETRY)
    return tmp_path


def test_folders_of_masks_are_evaluated_compared_and_shown(scans: Path, cli: Callable[..., object]) -> None:
    out = scans / "out"
    done = cli("compare", scans / "far", scans / "near", "--labels", scans / "data", "--out", out, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    row = next(row for row in found["rows"] if (row["metric"], row["class"]) == ("dice", "mean over classes"))
    assert (row["set"], row["reference"], row["wins"], row["losses"]) == ("near", "far", 6, 0)
    assert row["p"] == pytest.approx(2 / 2**6)
    assert row["difference"] > 0.1
    assert {"comparison.csv", "comparison.md", "differences.csv", "differences.png", "masks.png"} <= {
        file.name for file in out.iterdir()
    }
    with Image.open(out / "masks.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50


def test_evaluated_folders_and_their_tables_give_the_same(
    scans: Path, cli: Callable[..., object], refused: Callable[..., str]
) -> None:
    for name in ("near", "far"):
        assert cli("evaluate", scans / name, scans / "data").code == 0
    tables = []
    for number, ending in enumerate(("", "evaluation/cases.csv")):
        done = cli("compare", scans / "far" / ending, scans / "near" / ending, "--out", scans / f"out{number}")
        assert done.code == 0, done.err
        assert "No masks side by side" in " ".join(done.out.split())
        with (scans / f"out{number}" / "comparison.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1]
    assert {row["set"] for row in tables[0]} == {"near"}
    unknown = refused("compare", scans / "far", scans / "near", "--case", "s99", "--out", scans / "out")
    assert "not among the compared cases" in unknown


def test_runs_predict_the_cases_of_their_split_and_are_compared(
    phantoms: Path, tmp_path: Path, cli: Callable[..., object]
) -> None:
    quick = ["network.features=4", "train.steps=2", "train.batch_size=2", "train.workers=0", "data.workers=0"]
    quick += ["data.patch=8,16,16", "data.validation=0.4", "validation.every=2"]
    for seed in (0, 1):
        done = cli("train", phantoms, "--labels", 2, "--out", tmp_path / f"run{seed}", f"seed={seed}", *quick)
        assert done.code == 0, done.err
    done = cli("compare", tmp_path / "run0", tmp_path / "run1", "--labels", phantoms, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    with (tmp_path / "out" / "differences.csv").open() as file:
        cases = {row["case"] for row in csv.DictReader(file)}
    split = json.loads((tmp_path / "run0" / "split.json").read_text())
    assert cases == set(split["test"] or split["val"])
    assert (tmp_path / "out" / "masks.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["near"], "two sets of results or more"),
        (["near", "nowhere"], "no such file or folder"),
        (["near", "far"], "was not evaluated"),
        (["near", "far", "--metric", "dise"], "did you mean"),
        (["near", "far", "--name", "a"], "name all, or none"),
        (["near", "near"], "called"),
        (["near", "far", "--reference", "fare"], "did you mean"),
        (["near", "far", "--tie", "-1"], "must be 0 or more"),
    ],
)
def test_mistakes_are_one_line(
    scans: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(scans)
    assert message in refused("compare", *arguments, "--out", "out")
