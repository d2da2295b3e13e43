"""Stopping and going on gives the numbers of a run that was never stopped: workers, EMA teacher and optimizer alive."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

OPTIONS = [
    "--method",
    "mean_teacher",
    "--labels",
    "3",
    "network.features=4",
    "train.batch_size=2",
    "train.workers=1",
    "data.workers=0",
    "data.patch=8,16,16",
    "checkpoint.every=3",
    "train.log_every=1",
    "validation.every=4",
]


def command(dataset: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "paucis", "train", str(dataset), "--out", str(out), *more]


def losses(run: Path) -> dict[int, str]:
    with (run / "training.csv").open() as lines:
        return {int(row["step"]): row["loss"] for row in csv.DictReader(lines)}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "stages" / "train" / "last.safetensors")


@pytest.fixture(scope="module")
def unbroken(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    subprocess.run(command(phantoms, out, *OPTIONS, "train.steps=12"), check=True, capture_output=True)
    return out


def interrupted(phantoms: Path, out: Path, how: signal.Signals, after: int) -> int:
    process = subprocess.Popen(
        command(phantoms, out, *OPTIONS, "train.steps=12"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "training.csv").is_file() and max(losses(out), default=0) >= after:
            process.send_signal(how)
            break
        time.sleep(0.005)
    return process.wait(timeout=120)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_with_the_same_numbers(
    how: signal.Signals, phantoms: Path, unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code = interrupted(phantoms, out, how, after=4)
    assert code == (130 if how is signal.SIGINT else -signal.SIGKILL)
    if how is signal.SIGINT:  # a usable run is left
        assert weights(out)
    done = subprocess.run(
        [sys.executable, "-m", "paucis", "train", "--out", str(out), "--resume"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert losses(out) == losses(unbroken)
    first, second = weights(out), weights(unbroken)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_other_seeds_give_other_numbers(phantoms: Path, unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    subprocess.run(command(phantoms, out, *OPTIONS, "train.steps=2", "seed=1"), check=True, capture_output=True)
    assert losses(out)[1] != losses(unbroken)[1]


def test_two_processes_train_as_one_does(phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(phantoms, out, *OPTIONS, "train.steps=4", "train.devices=2", "device=cpu"),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert set(losses(out)) == {1, 2, 3, 4}
    assert weights(out)
