"""Every command through the real entry point, in a process of its own where streams and exit codes matter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

QUICK = [
    "network.features=4",
    "train.steps=4",
    "train.batch_size=2",
    "train.workers=0",
    "data.workers=0",
    "validation.every=2",
    "checkpoint.every=2",
    "data.patch=8,16,16",
]


def paucis(*arguments: object, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "paucis", *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == code, done.stderr
    return done


def refused(*arguments: object) -> str:
    """The one line that a mistake is answered with."""
    done = paucis(*arguments, code=2)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mt"
    paucis("train", phantoms, "--method", "mean_teacher", "--labels", 3, "--out", out, *QUICK)
    return out


def test_help_costs_no_more_than_25_bare_interpreters() -> None:
    def best(*command: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best("-m", "paucis", "--help") <= 25 * best("-c", "pass")


def test_help_imports_no_torch() -> None:
    code = "import sys, paucis.cli\ntry: paucis.cli.main(['-h'])\nexcept SystemExit: assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["methods", "networks", "plugins", "recipes", "settings"])
def test_lists_are_json_with_every_option(kind: str) -> None:
    done = paucis(kind, "--json")
    found = json.loads(done.stdout)
    assert all({"name", "options"} <= set(entry) for entry in found)
    if kind in ("methods", "networks", "settings"):
        assert found
        for entry in found:
            for item in entry["options"]:
                assert item["meaning"], (entry["name"], item["name"])
    assert not done.stderr


def test_a_run_folder_holds_everything(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.json", "plan.json", "split.json", "environment.json", "run.json", "training.csv", "events"}
    state = json.loads((run / "run.json").read_text())
    assert state["status"] == "finished"
    assert list((run / "events").glob("events*"))
    split = json.loads((run / "split.json").read_text())
    assert len(split["labeled"]) == 3
    assert split["unlabeled"]


def test_predict_and_evaluate_follow(run: Path, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions"
    paucis("predict", run, phantoms / "imagesTs", "--out", out)
    assert sorted(path.name for path in out.glob("*.nii.gz")) == sorted(
        path.name for path in (phantoms / "labelsTs").iterdir()
    )
    assert len(list((out / "maps").glob("*_entropy.nii.gz"))) == 2
    assert len(list((out / "maps").glob("*_confidence.nii.gz"))) == 2
    done = paucis("evaluate", out, phantoms / "labelsTs", "--json")
    json.loads(done.stdout)
    assert (out / "evaluation" / "cases.csv").is_file()
    assert (out / "evaluation" / "sheet.png").stat().st_size > 1000
    paucis("evaluate", out, phantoms / "labelsTs", "--convention", "literature", "--out", tmp_path / "literature")


def test_an_ensemble_gives_mutual_information(run: Path, phantoms: Path, tmp_path: Path) -> None:
    scan = sorted((phantoms / "imagesTs").iterdir())[0]
    paucis("predict", run, scan, "--out", tmp_path / "p", "--also", run)
    assert list((tmp_path / "p" / "maps").glob("*_mutual_information.nii.gz"))


def test_check_tells_what_there_is(phantoms: Path) -> None:
    found = json.loads(paucis("check", phantoms, "--json").stdout)
    assert found["labeled"] == 5
    assert found["unlabeled"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "train"),
        (["train", "{data}", "--out", "{out}", "train.stps=3"], "did you mean 'train.steps'"),
        (["train", "{data}", "--out", "{out}", "device=cuda:7"], "cuda:7"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(arguments: list[str], said: str, phantoms: Path, tmp_path: Path) -> None:
    places = {
        "data": phantoms,
        "out": tmp_path / "out",
    }  # the other mistakes: test_bad_*.py, without a new process each
    assert said in refused(*(argument.format(**places) for argument in arguments))
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_overwritten(run: Path, phantoms: Path) -> None:
    assert "--resume" in refused("train", phantoms, "--out", run, *QUICK)


def test_what_shapes_a_run_cannot_change_when_it_goes_on(run: Path, phantoms: Path) -> None:
    assert "seed" in refused("train", phantoms, "--out", run, "--resume", "seed=5")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in paucis("--debug", "check", tmp_path / "nowhere", code=1).stderr


def test_a_fault_of_the_program_is_one_line_with_its_place(
    monkeypatch: pytest.MonkeyPatch, cli: Callable[..., object], tmp_path: Path
) -> None:
    from paucis.workflows import check

    def broken(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(check, "check_dataset", broken)
    done = cli("check", tmp_path)
    assert done.code == 1  # type: ignore[attr-defined]
    (line,) = done.err.strip().splitlines()  # type: ignore[attr-defined]
    assert "KeyError: 'lost'" in line
    assert "test_cli.py" in line
    assert "--debug" in line
