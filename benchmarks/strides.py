"""Sliding windows at the strides of the literature against our default overlap: time, and what Dice it buys.

    python benchmarks/strides.py
    python benchmarks/strides.py --run RUN --scans SCANS --labels LABELS

Without a run, one is trained on phantoms by the program itself for some steps. The published strides belong to a patch:
left atrium 18 x 18 x 4 of 112 x 112 x 80 voxels (X, Y, Z), pancreas 16 of 96 along each axis; BraTS 64 of 96. They are
scaled to the patch of the run. All sides weight windows alike (Gaussian) but one, which takes our default with equal
weights as the published code does. Every side predicts the same cases in a process of its own; time is of all of them,
the figure beside it counts windows of the first, and Dice is that of ``paucis evaluate``.
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
from pathlib import Path
from typing import Any

import torch
from training_step import _processor

from paucis.data.formats import read_image
from paucis.data.layouts import scans as found_scans
from paucis.data.plan import Plan
from paucis.engine.runs import RunFolder
from paucis.inference.sliding import starts
from paucis.workflows.evaluate import evaluate
from paucis.workflows.phantom import write_phantoms
from paucis.workflows.predict import predict
from paucis.workflows.train import train

SHARES = {
    "default overlap": (0.5, 0.5, 0.5),
    "default, equal weights": (0.5, 0.5, 0.5),
    "left atrium": (4 / 80, 18 / 112, 18 / 112),
    "pancreas": (1 / 6, 1 / 6, 1 / 6),
    "BraTS": (2 / 3, 2 / 3, 2 / 3),
}
"""Stride as a share of the patch, (Z, Y, X)."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="a trained run, in place of one on phantoms")
    parser.add_argument("--scans", type=Path, help="what it predicts")
    parser.add_argument("--labels", type=Path, help="their references")
    parser.add_argument("--steps", type=int, default=60, help="of the training on phantoms")
    parser.add_argument("--size", type=int, default=64, help="voxels along the longest axis of a phantom")
    parser.add_argument("--patch", default="24,32,32", help="of the training on phantoms")
    parser.add_argument("--cases", type=int, default=4, help="phantoms that are predicted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sides", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--side", nargs=2, metavar=("NAME", "OUT"), help=argparse.SUPPRESS)
    return parser.parse_args()


def on_phantoms(options: argparse.Namespace, place: Path) -> None:
    """A run on phantoms, and further phantoms to predict."""
    write_phantoms(place / "data", 12, labeled=12, test=options.cases, size=options.size, seed=0)
    values = {
        "data.patch": options.patch,
        "data.cache": str(place / "cache"),
        "data.validation": 0.0,
        "network.features": 16,
        "train.steps": options.steps,
        "train.batch_size": 2,
        "train.workers": 0,
    }
    options.run = train(place / "data", out=place / "run", options=values).folder
    options.scans, options.labels = place / "data" / "imagesTs", place / "data" / "labelsTs"


def stride(name: str, plan: Plan) -> tuple[int, ...]:
    """Voxels along each axis of the patch."""
    shares = SHARES[name][3 - plan.ndim :]
    return tuple(max(1, round(share * size)) for share, size in zip(shares, plan.patch, strict=True))


def side(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a prediction, the first case apart, which loads what all use."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    name, out = options.side
    plan = RunFolder(options.run).plan()
    step = stride(name, plan)
    ends: list[float] = []
    predict(
        options.run,
        options.scans,
        out=out,
        device=options.device,
        options={
            "predict.stride": ",".join(map(str, step)),
            "predict.weighting": "uniform" if name.endswith("equal weights") else "gaussian",
            "predict.maps": "entropy",
        },
        progress=lambda done, total: ends.append(time.perf_counter()),
    )
    found = evaluate(out, options.labels, partial=True, workers=0)
    return {
        "stride": step,
        "seconds": ends[-1] - ends[0] if len(ends) < 3 else (ends[-1] - ends[1]) * (len(ends) - 1) / (len(ends) - 2),
        "dice": found.summary.overall["dice"].mean,
        "hd95": found.summary.overall["hd95"].mean,
        "windows": windows(options, plan, step),
    }


def windows(options: argparse.Namespace, plan: Plan, step: tuple[int, ...]) -> int:
    """How many windows cover the first case."""
    [case, *_] = found_scans(options.scans, len(plan.channels))
    scan = read_image(case.images)
    shape = plan.trace(scan.geometry, scan.array.shape[1:]).prepared
    sizes = zip(shape, plan.window, (1,) * (3 - plan.ndim) + step, strict=True)
    return math.prod(len(starts(max(size, patch), patch, apart)) for size, patch, apart in sizes)


def main() -> None:
    options = arguments()
    if options.side:
        print(json.dumps(side(options)))
        return
    print(f"{_processor()}, {options.threads} threads, {options.device}, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.run is None:
            torch.set_num_threads(options.threads)
            on_phantoms(options, place)
        found = {}
        shared = ["--run", str(options.run), "--scans", str(options.scans), "--labels", str(options.labels)]
        shared += ["--threads", str(options.threads), "--device", options.device]
        for number, name in enumerate(options.sides):
            command = [sys.executable, __file__, *shared, "--side", name, str(place / f"predictions{number}")]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                sys.exit(ran.stderr)
            found[name] = json.loads(ran.stdout.splitlines()[-1])
        patch = "x".join(map(str, RunFolder(options.run).plan().patch))
    base = found[options.sides[0]]
    print(f"patch {patch}, seconds of all cases, windows of the first")
    columns = ("stride", "windows", "s", "times", "Dice", "difference", "HD95")
    print(f"{'':24s}" + "".join(f"{column:>11s}" for column in columns))
    for name, row in found.items():
        step = "x".join(map(str, row["stride"]))
        gain = 100 * (row["dice"] - base["dice"])
        print(
            f"{name:24s}{step:>11s}{row['windows']:11d}{row['seconds']:11.2f}{row['seconds'] / base['seconds']:11.2f}"
            f"{100 * row['dice']:11.2f}{gain:+11.2f}{row['hd95']:11.2f}"
        )


if __name__ == "__main__":
    main()
