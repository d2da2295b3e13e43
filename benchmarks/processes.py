"""Several processes against one on the same machine: training, prediction of many cases, preparation.

    python benchmarks/processes.py
    python benchmarks/processes.py --what training --steps 40

Every side is the command line as a user types it, on phantoms that the program writes. Training: ``train.devices=2``
against 1 with the same crops a step over all processes, cores shared fairly; the time is the median of a step.
Prediction: one process with all cores, against ``--jobs`` with one for each core. Preparation: of a training
(``data.workers``), and ``paucis prepare``, which takes as many processes as it has cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from training_step import _processor

from paucis.engine import devices
from paucis.workflows.benchmark.worker import steps_taken
from paucis.workflows.phantom import write_phantoms

WHAT = ("training", "prediction", "preparation")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--cases", type=int, default=32, help="`paucis prepare` starts processes from 32 on")
    parser.add_argument("--size", type=int, default=160, help="voxels along the longest axis of a phantom")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--patch", default="64,64,64")
    parser.add_argument("--batch", type=int, default=4, help="crops a step, over all processes")
    parser.add_argument("--network", nargs="+", default=["network.features=16"], help="options of the network")
    return parser.parse_args()


def started(words: Sequence[str], cores: Sequence[int]) -> subprocess.Popen[str]:
    """A command of ``paucis`` that may use these cores, with as many threads."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    return subprocess.Popen(
        [sys.executable, "-m", "paucis", *words],
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def done(*running: subprocess.Popen[str]) -> None:
    """Waits; ends with what a failed one wrote."""
    for process in running:
        _, told = process.communicate()
        if process.returncode:
            sys.exit(told)


def line(what: str, one: float, two: float, unit: str) -> None:
    print(f"{what:34s} {one:9.3f} {two:9.3f} {unit:10s} {one / two:14.2f}", flush=True)


def seconds(act: Callable[[], None]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def training(options: argparse.Namespace, place: Path, cores: list[int]) -> None:
    """Leaves ``place/run1``, which prediction takes."""
    found = []
    for processes in (1, 2):
        out = place / f"run{processes}"
        words = ["train", str(place / "scans"), "--out", str(out), f"data.cache={place / 'cache'}", "train.log_every=1"]
        words += [f"train.steps={options.steps}", f"train.batch_size={options.batch}", f"data.patch={options.patch}"]
        done(started([*words, *options.network, f"train.devices={processes}", "device=cpu", "augment.off=true"], cores))
        found.append(steps_taken(out / "training.csv")[1])
    line(f"training step of {options.batch} crops", *found, "s")


def prediction(options: argparse.Namespace, place: Path, cores: list[int]) -> None:
    scans = place / "scans" / "imagesTr"

    def predicted(jobs: int) -> None:
        out = place / f"predictions{jobs}"
        done(started(["predict", str(place / "run1"), str(scans), "--out", str(out), "--jobs", str(jobs)], cores))

    several = max(2, len(cores))
    line(
        f"prediction of {options.cases} cases, {several} jobs",
        seconds(lambda: predicted(1)),
        seconds(lambda: predicted(several)),
        "s",
    )


def preparation(options: argparse.Namespace, place: Path, cores: list[int]) -> None:
    found = []
    for workers in (0, len(cores)):
        out, cache = place / f"prepared{workers}", place / f"cache{workers}"
        words = ["train", str(place / "scans"), "--out", str(out), f"data.cache={cache}", f"data.workers={workers}"]
        words += ["train.steps=1", "data.patch=16,16,16", "network.features=4", "data.validation=0", "train.workers=0"]
        done(started([*words, "data.spacing=2,1.5,1.5"], cores if workers else cores[:1]))
        found.append(json.loads((out / "run.json").read_text())["preparation_seconds"])
    line(f"preparation for training, {len(cores)} processes", *found, "s")

    def published(share: Sequence[int], out: str) -> None:
        words = ["prepare", "msd", str(place / "scans"), "--out", str(place / out), "--protocol", "pool", "--partial"]
        done(started(words, share))

    whole = [seconds(lambda: published(cores[:1], "one")), seconds(lambda: published(cores, "all"))]
    line(f"paucis prepare, {len(cores)} processes", *whole, "s")


def main() -> None:
    options = arguments()
    cores = sorted(os.sched_getaffinity(0))
    print(f"{_processor()}, {len(cores)} cores, PyTorch {torch.__version__}")
    print(f"{'':34s} {'one':>9s} {'several':>9s} {'':10s} {'times as fast':>14s}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_phantoms(place / "scans", options.cases, labeled=options.cases, test=0, size=options.size, seed=0)
        if "training" in options.what or "prediction" in options.what:
            training(options, place, cores)
        if "prediction" in options.what:
            prediction(options, place, cores)
        if "preparation" in options.what:
            preparation(options, place, cores)
    if devices.fast_bf16(torch.device("cpu")):
        print("training and prediction compute in bf16 here")


if __name__ == "__main__":
    main()
