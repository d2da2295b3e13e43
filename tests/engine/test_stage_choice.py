"""``--stage`` and ``--from-stage``: stages one by one, and again from one of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from paucis.cli import main
from paucis.engine.runs import network_weights, open_run
from paucis.errors import PaucisError
from paucis.workflows.train import train

METHOD = "tests.engine.third_party:SelfTraining"
QUICK = {
    "network.features": 4,
    "train.steps": 8,
    "train.batch_size": 2,
    "train.workers": 0,
    "data.workers": 0,
    "data.patch": "8,16,16",
    "train.log_every": 1,
    "validation.cases": 1,
}


def begun(phantoms: Path, out: Path, **more: Any) -> Path:
    train(phantoms, out=out, method=METHOD, labels=3, options=QUICK, **more)
    return out


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run / "stages" / stage / "last.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def rows(run: Path) -> list[tuple[str, str]]:
    with (run / "training.csv").open() as lines:
        return [(row["stage"], row["step"]) for row in csv.DictReader(lines)]


def finished(run: Path) -> list[str]:
    return list(json.loads((run / "run.json").read_text())["results"])


@pytest.fixture(scope="module")
def whole(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(phantoms, tmp_path_factory.mktemp("whole") / "run")


def test_stages_one_by_one_are_the_whole_run(phantoms: Path, whole: Path, tmp_path: Path) -> None:
    run = begun(phantoms, tmp_path / "run", stage="first")
    assert finished(run) == ["first"]
    with pytest.raises(PaucisError, match="stage 'count' before it is not finished"):
        train(out=run, resume=True, stage="second")
    for stage in ("count", "second"):
        train(out=run, resume=True, stage=stage)
    assert finished(run) == ["first", "count", "second"]
    assert same(weights(run, "second"), weights(whole, "second"))
    assert rows(run) == rows(whole)


def test_a_run_with_stages_left_is_used_by_its_last_and_says_so(
    phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = begun(phantoms, tmp_path / "run", stage="first")
    assert open_run(run).method.kind == "first"  # type: ignore[comparison-overlap]
    assert "stage 'count' is not trained yet: using 'first'" in caplog.text
    assert network_weights(run).parent.name == "first"


def test_from_a_stage_all_after_it_is_trained_anew_and_nothing_before(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    kept = (run / "stages" / "first" / "last.safetensors").stat().st_mtime_ns
    spoiled = run / "stages" / "second" / "checkpoint.pt"
    spoiled.write_bytes(b"of the training before")
    train(out=run, from_stage="count")
    assert (run / "stages" / "first" / "last.safetensors").stat().st_mtime_ns == kept
    assert spoiled.stat().st_size > 100
    assert same(weights(run, "second"), weights(whole, "second"))
    assert rows(run) == rows(whole)


def test_one_stage_anew_forgets_those_after_it(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    train(out=run, from_stage="count", stage="count")
    assert finished(run) == ["first", "count"]
    assert not (run / "stages" / "second").exists()
    assert {stage for stage, _ in rows(run)} == {"first", "count"}


def test_wrong_stages_are_refused_in_a_line_that_names_the_right_ones(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["train", str(phantoms), "--out", str(tmp_path / "run"), "--method", METHOD]
    for more, message in (
        (["--stage", "secnd"], "--stage secnd: no stage of method"),
        (["--from-stage", "second"], "holds no run to go on with"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*common, *more])
        assert left.value.code == 2
        told = capsys.readouterr().err
        assert message in told
    assert not (tmp_path / "run").exists()
