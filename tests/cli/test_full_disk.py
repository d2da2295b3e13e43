"""A full disk ends every command with one line, and what it leaves does not pass for a result.

The disk is played by a limit on the size of files, which the system answers with an error of the same kind.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SMALL = {"network.features": 4, "train.batch_size": 2, "train.workers": 0, "data.workers": 0, "data.patch": "8,16,16"}


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leftovers(folder: Path) -> list[Path]:
    """Files that were never finished."""
    return [path for path in folder.rglob("*") if ".part" in path.name]


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paucis.workflows.train import train

    out = tmp_path_factory.mktemp("runs") / "run"
    train(phantoms, out=out, labels=3, options={**SMALL, "train.steps": 2, "device": "cpu"})
    return out


@pytest.mark.parametrize(("size", "named"), [(3_000, "b2nd"), (60_000, "safetensors")])
def test_a_training_can_be_done_again_when_there_is_room(
    size: int, named: str, phantoms: Path, tmp_path: Path, cli: Callable[..., object]
) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    options = [f"{key}={value}" for key, value in {**SMALL, "train.steps": 2, "data.cache": cache}.items()]
    train = ("train", phantoms, "--out", out, "--labels", "3", "device=cpu", *options)
    with room(size):
        done = cli(*train)
    assert done.code == 2  # type: ignore[attr-defined]
    last = done.err.strip().splitlines()[-1]  # type: ignore[attr-defined]
    assert all(part in last for part in (named, "the disk is full", "free space")), last
    assert not leftovers(tmp_path)
    assert not list(out.rglob("*.safetensors"))
    again = cli(*train, "--resume")
    assert again.code == 0, again.err  # type: ignore[attr-defined]
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_a_prediction_that_found_no_room_left_no_mask(
    run: Path, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    with room(4_000):
        line = refused("predict", run, phantoms / "imagesTs", "--out", out, "--device", "cpu")
    assert "phantom_008" in line
    assert "space" in line
    assert not [path for path in out.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [200, 6_000])
def test_an_evaluation_that_found_no_room_left_no_summary(
    size: int, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    labels, out = phantoms / "labelsTs", tmp_path / "out"
    with room(size):
        line = refused("evaluate", labels, labels, "--out", out)
    assert "the disk is full" in line
    assert "another --out" in line
    assert not (out / "summary.json").exists()
    assert not leftovers(tmp_path)


def test_a_phantom_that_found_no_room_is_no_dataset(tmp_path: Path, refused: Callable[..., str]) -> None:
    with room(2_000):
        line = refused("phantom", tmp_path / "made", "--cases", "2", "--labeled", "1", "--test", "0", "--size", "24")
    assert "space" in line
    assert not (tmp_path / "made" / "dataset.json").exists()
