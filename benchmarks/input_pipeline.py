"""The rate at which crops are read and batched, beside the rate of the training step that takes them.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --what unet2d --workers 0 1

Phantoms are written into a temporary folder and prepared as ``train`` does it. The pipeline (two streams of crops,
loader processes, nothing that takes the batches) and the step of ``training_step.py`` are each measured in a process of
its own, one after the other; both rates are in crops, so that labeled and unlabeled crops count alike. Half of a batch
is unlabeled where both streams are read. What the step does to a batch on the device before the networks see it, the
base augmentation, is timed apart. Below stands what reading one crop takes in volumes that grow: blocks that are
decompressed are those that the crop touches.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
from training_step import WORK, _processor

from paucis.data.cached import compress
from paucis.data.phantom import phantom
from paucis.data.sampling import BatchStream, loader
from paucis.engine import devices
from paucis.engine.fit import Material
from paucis.engine.runs import RunFolder
from paucis.views.augment import AugmentOptions, BaseAugmentation
from paucis.workflows.hooks import Hooks
from paucis.workflows.phantom import write_phantoms
from paucis.workflows.preparing import prepare
from paucis.workflows.request import fresh

SIDES = {64: (96, 128, 160, 224), 128: (128, 256, 512)}
"""Voxels along an edge of the volumes (64: of 3D crops) and slices that one crop is read from."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=("vnet", "unet2d"), default=("vnet", "unet2d"))
    parser.add_argument("--workers", type=int, nargs="+", help="loader processes [default: 0, and what train takes]")
    parser.add_argument("--size", type=int, default=160, help="voxels along the longest axis of a phantom")
    parser.add_argument("--cases", type=int, default=8, help="phantoms, half of them labeled")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each rate is measured for")
    parser.add_argument("--steps", type=int, default=12, help="of the step's measurement")
    parser.add_argument("--threads", type=int, default=devices.cores(), help="of the step")
    parser.add_argument("--device", default="cpu", help="of the step")
    parser.add_argument("--side", nargs=3, metavar=("WHAT", "STREAMS", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def prepared(folder: Path, name: str, cases: int, edge: int) -> tuple[Material, Any]:
    """Phantoms as a training finds them; what is there already is taken."""
    scans = folder / "phantoms"
    if not scans.exists():
        write_phantoms(scans, cases, labeled=cases // 2, test=0, size=edge, seed=0)
    run, size = RunFolder(folder / name), WORK[name.partition("-")[0]]["size"]
    values = {
        "method": "mean_teacher",
        "data.cache": str(folder / "cache"),
        "data.validation": 0.0,
        "data.dims": str(len(size)),
        "data.patch": ",".join(map(str, size)),
    }
    material, plan = prepare(run, fresh(run, scans, values, (), None, False, ()), Hooks())
    return material, plan.task()


def pipeline(options: argparse.Namespace) -> dict[str, float]:
    """Crops a second of each number of loader processes, and seconds of augmentation of one crop."""
    name, streams, folder = options.side
    material, task = prepared(Path(folder), f"{name}-{streams}", options.cases, options.size)
    batch = WORK[name]["batch"]
    both = streams == "both"
    stream = BatchStream(
        task,
        material.labeled,
        material.unlabeled if both else None,
        batch_size=batch // 2 if both else batch,
        unlabeled_batch_size=batch // 2,
    )
    found = {}
    for workers in options.workers:
        torch.set_num_threads(1)
        found[str(workers)] = batch * rate(iter(loader(stream, 0, 10**6, workers)), options.seconds)
    torch.set_num_threads(options.threads)
    augmentation, generator = BaseAugmentation(task, AugmentOptions()), torch.Generator().manual_seed(0)
    one = stream[0]
    augmentation(one, generator)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        augmentation(one, generator)
        times.append(time.perf_counter() - start)
    return found | {"augmentation": float(np.median(times)) / batch}


def rate(batches: Iterator[Any], seconds: float) -> float:
    """Batches a second, once the first few have come."""
    for _ in range(6):
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += 1
    return count / (time.perf_counter() - start)


def crops(name: str, folder: Path) -> None:
    """Time and blocks of a crop in volumes of several sizes."""
    size = WORK[name]["size"]
    ndim = len(size)
    image = phantom((64, 64, 64), 0)[0].astype(np.float32) / 1000
    print(f"{'volume':>16s} {'MB':>7s} {'ms/crop':>8s} {'MB of blocks it touches':>24s} {'whole volume, ms':>17s}")
    for edge in SIDES[size[0]]:
        shape = (edge, edge, edge) if ndim == 3 else (edge, 192, 192)
        volume = np.tile(image, [-(-side // 64) for side in shape])[tuple(slice(side) for side in shape)]
        path = folder / f"{edge}.b2nd"
        path.write_bytes(compress(volume[None], ndim))
        file = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
        patch = (1,) * (3 - ndim) + size
        starts = np.random.default_rng(0).integers(0, np.array(shape) - np.array(patch) + 1, (60, 3))
        begin = time.perf_counter()
        for z, y, x in starts:
            file[:, z : z + patch[0], y : y + patch[1], x : x + patch[2]]
        one = (time.perf_counter() - begin) / len(starts)
        begin = time.perf_counter()
        file[:]
        whole = time.perf_counter() - begin
        block = file.blocks[1:]
        touched = np.mean([math.prod(_blocks(s, patch, block)) for s in starts]) * math.prod(block) * 4 / 1e6
        names = "x".join(map(str, shape))
        print(f"{names:>16s} {volume.nbytes / 1e6:7.1f} {1000 * one:8.2f} {touched:24.2f} {1000 * whole:17.1f}")


def _blocks(start: Any, patch: tuple[int, ...], block: tuple[int, ...]) -> list[int]:
    return [int((s + n - 1) // b - s // b + 1) for s, n, b in zip(start, patch, block, strict=True)]


def child(program: str, options: argparse.Namespace, *further: str) -> dict[str, Any]:
    """What a program of this folder measures in a process of its own."""
    shared = ["--threads", str(options.threads), "--steps", str(options.steps), "--device", options.device]
    command = [sys.executable, str(Path(__file__).with_name(program)), *shared, *further]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr)
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def main() -> None:
    options = arguments()
    options.workers = options.workers or sorted({0, min(8, max(1, devices.cores() - 1))})
    if options.side:
        warnings.simplefilter("ignore")
        print(json.dumps(pipeline(options)))
        return
    print(f"{_processor()}, {devices.cores()} cores, step on {options.device} with {options.threads} threads")
    print(f"PyTorch {torch.__version__}, blosc2 {blosc2.__version__}")
    given = ["--workers", *map(str, options.workers), "--seconds", str(options.seconds)]
    given += ["--size", str(options.size), "--cases", str(options.cases)]
    with tempfile.TemporaryDirectory() as place:
        for name in options.what:
            step = child("training_step.py", options, "--what", name, "--side", "paucis")["seconds"]
            taken = WORK[name]["batch"] / step
            print(f"\n{name}: the step takes {taken:.1f} crops/s of {WORK[name]['size']}")
            print(f"{'streams':>10s} {'loader processes':>17s} {'crops/s':>9s} {'times the step':>15s}")
            for streams in ("labeled", "both"):
                found = child("input_pipeline.py", options, *given, "--side", name, streams, place)
                augmentation = found.pop("augmentation")
                for workers, speed in found.items():
                    print(f"{streams:>10s} {workers:>17s} {speed:9.1f} {speed / taken:15.1f}")
            print(f"augmentation on the device: {100 * augmentation * taken:.1f} % of the step's time besides")
            crops(name, Path(place))


if __name__ == "__main__":
    main()
