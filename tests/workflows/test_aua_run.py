"""AUA's stages through training, resuming and prediction, with pseudo-labels written between them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paucis.workflows.predict import predict
from paucis.workflows.train import train

OPTIONS = {
    "network.features": 4,
    "network.depth": 2,
    "train.steps": 5,
    "train.batch_size": 2,
    "train.workers": 0,
    "data.workers": 0,
    "data.patch": "8,16,16",
    "train.log_every": 1,
    "validation.cases": 1,
    "validation.every": 1,
    "method.pseudo_labels": "windows",
    "method.pseudo_weights": True,
    "method.prototype_temperature": 1.0,
}


@pytest.fixture(scope="module")
def whole(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aua") / "run"
    train(phantoms, out=out, method="aua", labels=3, options=OPTIONS)
    return out


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run / "stages" / stage / "last.safetensors")


def test_one_call_trains_all_stages(whole: Path) -> None:
    with (whole / "training.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["stage"] for row in rows] == ["stage1", "stage1", "prototypes", "stage2", "stage2"]
    assert float(rows[0]["likelihood"]) > 0
    assert float(rows[-1]["prototype"]) > 0
    unlabeled = json.loads((whole / "split.json").read_text())["unlabeled"]
    assert len(list((whole / "stages" / "stage2" / "pseudo-labels").glob("*.labels.b2nd"))) == len(unlabeled)


def test_the_second_stage_holds_what_the_stages_before_it_came_to(whole: Path) -> None:
    estimated, second = (weights(whole, name) for name in ("prototypes", "stage2"))
    best = load_file(whole / "stages" / "stage1" / "best.safetensors")
    labeler = {name.removeprefix("labeler."): value for name, value in second.items() if name.startswith("labeler.")}
    assert all(torch.equal(value, best[f"student.{name}"]) for name, value in labeler.items())
    for name in ("counts", "means", "variances"):
        assert torch.equal(second[f"prototypes.{name}"], estimated[f"prototypes.{name}"])
    assert float(second["prototypes.counts"].sum()) > 0


def test_stages_of_several_calls_are_those_of_one(whole: Path, phantoms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(phantoms, out=run, method="aua", labels=3, options=OPTIONS, stage="stage1")
    train(out=run, resume=True, stage="prototypes")
    train(out=run, resume=True)
    one, other = weights(whole, "stage2"), weights(run, "stage2")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_predicts_samples_of_its_own(whole: Path, phantoms: Path, tmp_path: Path) -> None:
    scan = sorted((phantoms / "imagesTr").iterdir())[0]
    predict(whole, scan, out=tmp_path / "out", options={"predict.samples": 2})
    assert len(list((tmp_path / "out" / "samples").iterdir())) == 2
    with (tmp_path / "out" / "cases.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert all(float(row["sampled_volume_ml_largest"]) >= float(row["sampled_volume_ml_smallest"]) for row in rows)
