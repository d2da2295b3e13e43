"""What methods and plug-ins need from the engine: stages, pseudo-labels, plug-in losses, weights to start from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import paucis
from paucis.engine.runs import RunFolder, make_stage, open_run, stages
from paucis.errors import PaucisError
from paucis.workflows.train import train

QUICK = {
    "network.features": 4,
    "train.batch_size": 2,
    "train.workers": 0,
    "data.workers": 0,
    "data.patch": "8,16,16",
    "train.log_every": 1,
    "validation.cases": 1,
}
MODULE = "tests.engine.third_party"


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "training.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def staged(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("staged") / "run"
    options = {**QUICK, "train.steps": 4}
    train(phantoms, out=out, method=f"{MODULE}:SelfTraining", labels=3, plugs=(f"{MODULE}:Pull",), options=options)
    return out


def test_stages_share_the_steps(staged: Path) -> None:
    assert [(row["stage"], row["step"]) for row in rows(staged)] == [
        ("first", "1"),
        ("first", "2"),
        ("count", "1"),
        ("second", "1"),
    ]


def test_a_stage_without_gradient_estimates_and_moves_nothing(staged: Path) -> None:
    counted = load_file(staged / "stages" / "count" / "last.safetensors")
    assert counted["seen"] == 1


def test_the_last_stage_learns_from_pseudo_labels_at_its_own_rate(staged: Path) -> None:
    last = rows(staged)[-1]
    assert float(last["pseudo"]) > 0
    assert float(last["rate"]) == 0.001
    written = list((staged / "stages" / "second" / "pseudo-labels").glob("*.labels.b2nd"))
    assert len(written) == len(json.loads((staged / "split.json").read_text())["unlabeled"])


def test_a_plugins_loss_is_added_and_trained(staged: Path) -> None:
    assert float(rows(staged)[0]["pull/size"]) > 0
    state = torch.load(staged / "stages" / "first" / "checkpoint.pt", weights_only=True)
    assert state["plugins"]["0.scale"] != 1.0


def test_a_staged_run_opens_with_its_memory(staged: Path) -> None:
    method = open_run(staged).method
    assert not method.training
    assert float(method.state_dict()["seen"]) >= 1


def test_init_starts_from_the_network_of_another_run(staged: Path, phantoms: Path, tmp_path: Path) -> None:
    options = {**QUICK, "train.steps": 1, "optimizer.rate": 0.0}
    train(phantoms, out=tmp_path / "next", labels=3, init=staged, options=options)
    before = load_file(staged / "stages" / "second" / "best.network.safetensors")
    after = load_file(tmp_path / "next" / "stages" / "train" / "last.network.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_init_leaves_a_stage_alone_that_continues_an_earlier_one(staged: Path, phantoms: Path, tmp_path: Path) -> None:
    still = {**QUICK, "train.steps": 4, "train.unlabeled_batch_size": 2, "optimizer.rate": 0.01}
    train(phantoms, out=tmp_path / "bcp", method="bcp", labels=3, init=staged, options=still)
    folder = RunFolder(tmp_path / "bcp")
    config, task = folder.config(), folder.plan().task()
    first, second = stages(config)
    pretrained, _ = make_stage(first, config, task, {})
    with torch.no_grad():
        for parameter in pretrained.parameters():
            parameter += 1.0
    continued, _ = make_stage(second, config, task, {first.name: pretrained})
    given = dict(pretrained.networks()[0].named_parameters())
    assert all(torch.equal(value, given[name]) for name, value in continued.networks()[0].named_parameters())


def test_init_from_a_folder_that_is_no_run_is_refused(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(PaucisError, match="not a run folder"):
        train(phantoms, out=tmp_path / "next", labels=3, init=tmp_path / "none", options={**QUICK, "train.steps": 1})


def test_a_loss_that_is_not_finite_stops_with_step_term_and_cases(phantoms: Path, tmp_path: Path) -> None:
    options = {**QUICK, "train.steps": 30, "optimizer.rate": 1e30, "train.clip": None, "checkpoint.every": 1}
    with pytest.raises(PaucisError, match=r"step \d+: loss 'supervised' is not finite .*cases: phantom_"):
        train(phantoms, out=tmp_path / "run", labels=3, options=options)
    kept = load_file(tmp_path / "run" / "stages" / "train" / "last.safetensors")
    assert kept


def test_labels_of_unlabeled_cases_are_never_opened(phantoms: Path, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    split = {"train": [f"phantom_00{i}" for i in range(8) if i != 1], "val": ["phantom_001"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    for hidden in ("phantom_003", "phantom_004"):  # labeled in the dataset, unlabeled by the budget
        (data / "labelsTr" / f"{hidden}.nii.gz").write_bytes(b"nobody may read this")
    options = {**QUICK, "train.steps": 2, "data.split": str(tmp_path / "split.json")}
    done = paucis.train(data, out=tmp_path / "run", method="mean_teacher", labels=2, options=options)
    assert done.finished
    assert set(json.loads((tmp_path / "run" / "split.json").read_text())["unlabeled"]) >= {"phantom_003", "phantom_004"}
