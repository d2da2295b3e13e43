"""nnU-Net's ``ignore`` label, from the folder to the table: not learned from, not predicted, not scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from paucis.batch import IGNORE
from paucis.data.cache import Cache
from paucis.data.facts import gather
from paucis.data.layouts import ignored, recognize
from paucis.data.planfile import load_plan

TWO_STEPS = (
    "network.features=4", "train.steps=2", "train.batch_size=2", "train.workers=0", "data.workers=0",
    "data.patch=8,16,16", "data.spacing=1,1,1", "device=cpu",
)  # fmt: skip


def scribbled(root: Path, foreground: int = 1) -> Path:
    """Four CT volumes of a cube, of which only every other slice is annotated."""
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for index in range(4):
        mask = np.zeros((10, 16, 20), np.uint8)
        mask[2:8, 4:12, 5:15] = foreground
        values = rng.normal(0, 5, mask.shape) - 900 + 1000 * (mask > 0)
        mask[1::2] = 3
        values[1::2] += 300
        for path, array in (
            (root / f"imagesTr/c{index}_0000.nii.gz", values.astype(np.int16)),
            (root / f"labelsTr/c{index}.nii.gz", mask),
        ):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((1.0, 1.0, 2.0))
            sitk.WriteImage(image, str(path))
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "cube": 1, "ignore": 3},
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_ignored_voxels_count_nowhere(cli: Callable[..., object], tmp_path: Path) -> None:
    data, run, out = scribbled(tmp_path / "data"), tmp_path / "run", tmp_path / "out"
    found = json.loads(cli("check", data, "--json").out)
    assert found["problems"] == []
    assert [(one["name"], one["voxels"]) for one in found["classes"]] == [("background", 4 * 1360), ("cube", 4 * 240)]
    assert [(one["value"], one["voxels"], one["cases"]) for one in found["ignored"]] == [(3, 4 * 1600, 4)]
    assert sum(one["share"] for one in found["classes"]) == pytest.approx(1.0)

    done = cli("train", data, "--out", run, *TWO_STEPS)
    assert done.code == 0, done.err
    plan = load_plan(run / "plan.json")
    assert (plan.values, plan.ignore) == ((0, 1), (3,))
    assert plan.normalization[0].mean == pytest.approx(100, abs=3)  # of annotated slices: the others are brighter

    dataset = recognize(data)
    facts, _ = gather(dataset.cases, tmp_path / "store", ignore=ignored(dataset))
    cached = Cache(tmp_path / "store", plan).ensure(dataset.cases[:1], facts)[0]
    label = cached.label[...]
    assert label.shape[0] == 20
    np.testing.assert_array_equal((label == IGNORE).all((1, 2)), np.arange(20) // 2 % 2 == 1)
    assert set(np.unique(label)) == {0, 1, IGNORE}
    assert set(np.unique(cached.positions[:, 0])) == {1}

    assert cli("predict", run, data / "imagesTr", "--out", out, "device=cpu").code == 2  # it takes predict.* only
    assert cli("predict", run, data / "imagesTr", "--out", out, "--device", "cpu").code == 0
    assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(out / "c0.nii.gz"))))) <= {0, 1}
    perfect = tmp_path / "perfect"
    perfect.mkdir()
    for path in (data / "labelsTr").iterdir():
        mask = sitk.ReadImage(str(path))
        sitk.WriteImage(sitk.ChangeLabel(mask, {3: 1}), str(perfect / path.name))  # wrong only where nobody looks
    summary = json.loads(cli("evaluate", perfect, data, "--json").out)
    assert summary["classes"]["cube"]["dice"]["mean"] == 1.0


def test_an_unknown_value_beside_the_one_to_ignore_is_an_error(refused: Callable[..., str], tmp_path: Path) -> None:
    data = scribbled(tmp_path / "data", foreground=2)
    for command in (("check", data), ("train", data, "--out", tmp_path / "run", *TWO_STEPS)):
        line = refused(*command)
        assert "labelsTr/c0.nii.gz: unknown label values 2" in line
        assert "3 more" in line
