"""How time and memory grow with cases, voxels and classes, and whether memory stays flat over a long run: a picture.

    python benchmarks/growth.py --out docs/results/performance/growth.png
    python benchmarks/growth.py --quick --out growth.png

Every point is measured in a process of its own, on phantoms and random volumes. Cases: the first preparation of so
many scans (its memory with that of the training's first step), and a prediction of all of them. Voxels: a training
step (small U-Net, one crop) and a sliding window (a network of two convolutions). Classes: a training step, a sliding
window, and all metrics of one case. Memory is the growth of the process over what it held before. The last panel
follows one training by the engine, with validation and checkpoints: what the process holds (resident set) after every
hundredth step. Dashed lines grow in proportion.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sliding_window import network as two_convolutions
from sliding_window import predict_paucis
from training_step import WORK, _processor, held, measure_paucis

from paucis.evaluation.metrics import case_metrics
from paucis.evaluation.reliability.pictures import COLORS
from paucis.workflows.hooks import Hooks
from paucis.workflows.phantom import write_phantoms
from paucis.workflows.predict import predict
from paucis.workflows.train import train

CPU = torch.device("cpu")
SMALL = {"network.features": 4, "data.patch": "16,16,16", "train.batch_size": 2, "train.workers": 0, "data.workers": 0}
CASES, QUICK_CASES = (4, 8, 16, 32, 64), (2, 4)
EDGES, QUICK_EDGES = (32, 48, 64, 96, 128), (16, 32)
CLASSES, QUICK_CLASSES = (2, 4, 8, 16, 32), (2, 4)
FLOORS = (1e-4, 0.1)
"""Seconds and MiB below which nothing is drawn."""
LABELS = {
    "prepare": "preparation",
    "predict": "prediction",
    "step": "training step",
    "window": "sliding window",
    "metrics": "all metrics of a case",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("growth.png"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1000, help="of the long run")
    parser.add_argument("--quick", action="store_true", help="two small points each, to see that it works")
    parser.add_argument("--side", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def cases(count: int) -> dict[str, Any]:
    """A first training on so many cases (of one step), whose preparation is noted, and their prediction."""
    with tempfile.TemporaryDirectory() as place:
        scans = Path(place) / "scans"
        write_phantoms(scans, count, labeled=count, test=0, size=48, seed=0)
        before = held(CPU)
        options = {**SMALL, "data.cache": f"{place}/cache", "data.validation": 0.0, "train.steps": 1}
        run = train(scans, out=Path(place) / "run", options=options).folder
        seconds = json.loads((run / "run.json").read_text())["preparation_seconds"]
        found = {"prepare": [seconds, held(CPU) - before]}
        begun = time.perf_counter()
        predict(run, scans / "imagesTr", out=Path(place) / "masks", device="cpu")
        return found | {"predict": [time.perf_counter() - begun, held(CPU) - before]}


def step(edge: int, classes: int, threads: int) -> list[float]:
    """Median seconds and MiB of the engine's step on one crop of ``edge`` voxels along each axis."""
    options = {"features": 8, "depth": 3}
    WORK["grown"] = {"network": "unet", "options": options, "batch": 1, "size": (edge,) * 3, "classes": classes}
    given = Namespace(what="grown", steps=5, device="cpu", threads=threads, compile=False, profile=False)
    found = measure_paucis(given)
    return [found["seconds"], found["megabytes"]]


def window(edge: int, classes: int) -> list[float]:
    """Seconds and MiB of a volume of ``edge`` voxels along each axis."""
    given = Namespace(patch=(32, 32, 32), overlap=0.5, batch=2)
    model = two_convolutions(classes)
    image = np.random.default_rng(0).standard_normal((1, edge, edge, edge), dtype=np.float32)
    with torch.no_grad():
        predict_paucis(image[:, :32, :32, :32], model, given)
        before, begun = held(CPU), time.perf_counter()
        predict_paucis(image, model, given)
    return [time.perf_counter() - begun, held(CPU) - before]


def metrics(classes: int) -> list[float]:
    """Seconds and MiB of all metrics of a case of blobs, one in twenty moved by a voxel."""
    coarse = np.random.default_rng(0).integers(0, classes, (8, 8, 8), dtype=np.uint8)
    reference = coarse.repeat(10, 0).repeat(10, 1).repeat(10, 2)
    names = [str(label) for label in range(classes)]
    before, begun = held(CPU), time.perf_counter()
    case_metrics(np.roll(reference, 1, 2), reference, names, (1.0, 1.0, 1.0))
    return [time.perf_counter() - begun, held(CPU) - before]


def long_run(steps: int) -> dict[str, Any]:
    """MiB that the process holds after every hundredth of a run's steps (every tenth of a short one)."""
    every, resident = max(1, min(100, steps // 10)), dict[int, float]()

    def report(state: dict[str, Any]) -> None:
        if state["step"] % every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident[state["step"]] = pages * 4096 / 2**20

    with tempfile.TemporaryDirectory() as place:
        scans = Path(place) / "scans"
        write_phantoms(scans, 6, labeled=3, test=0, size=32, seed=0)
        options = {**SMALL, "method": "mean_teacher", "data.cache": f"{place}/cache", "train.steps": steps}
        train(scans, out=Path(place) / "run", options=options, hooks=Hooks(report=report))
    return {"run": [list(resident), list(resident.values())]}


def side(options: argparse.Namespace) -> dict[str, Any]:
    """One point of the picture, or the long run."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    what, size = options.side[0], int(options.side[1])
    if what == "cases":
        return cases(size)
    if what == "voxels-step":
        return {"step": step(size, 4, options.threads)}
    if what == "voxels-window":
        return {"window": window(size, 4)}
    if what == "classes-step":
        return {"step": step(32, size, options.threads)}
    if what == "classes-window":
        return {"window": window(64, size)}
    return {"metrics": metrics(size)} if what == "classes-metrics" else long_run(size)


def draw(path: Path, panels: dict[str, dict[str, dict[int, list[float]]]], run: list[list[float]], note: str) -> None:
    """Time above and memory below, a column for cases, voxels and classes, and the long run beside them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(12.4, 5.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4)
    for column, (what, lines) in enumerate(panels.items()):
        for row, (unit, title) in enumerate((("seconds", "time"), ("MiB", "memory"))):
            axes = grid[row, column]
            for color, (name, points) in zip(COLORS, lines.items(), strict=False):
                sizes = [size**3 if what == "voxels" else size for size in points]
                values = [max(point[row], FLOORS[row]) for point in points.values()]
                axes.plot(sizes, values, color=color, marker="o", markersize=3, linewidth=1.4, label=LABELS[name])
                straight = [values[-1] * size / sizes[-1] for size in sizes]
                axes.plot(sizes, straight, color=color, linewidth=0.7, linestyle="--")
            axes.set_xscale("log")
            axes.set_yscale("log")
            edges = list(next(iter(lines.values())))
            names = [f"{edge}³" if what == "voxels" else str(edge) for edge in edges]
            axes.set_xticks([edge**3 if what == "voxels" else edge for edge in edges], names)
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_title(f"{title} by {what}", fontsize=9)
            axes.set_xlabel(what, fontsize=8)
            axes.set_ylabel(unit, fontsize=8)
            axes.legend(fontsize=7, frameon=False)
    for axes in grid[:, 3]:
        axes.remove()
    axes = figure.add_subplot(grid[0, 0].get_gridspec()[:, 3])
    axes.plot(run[0], run[1], color=COLORS[0], marker="o", markersize=3, linewidth=1.4)
    axes.set_ylim(0, 1.25 * max(run[1]))
    axes.set_title(f"memory over a run of {int(run[0][-1])} steps", fontsize=9)
    axes.set_xlabel("steps", fontsize=8)
    axes.set_ylabel("MiB held by the process", fontsize=8)
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
    figure.supxlabel(note, fontsize=7, color="0.4")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def point(options: argparse.Namespace, what: str, size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--threads", str(options.threads), "--side", what, str(size)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    options = arguments()
    if options.side:
        print(json.dumps(side(options)))
        return
    counts, edges, labels = (QUICK_CASES, QUICK_EDGES, QUICK_CLASSES) if options.quick else (CASES, EDGES, CLASSES)
    note = f"{_processor()}, {options.threads} thread(s), PyTorch {torch.__version__}"
    print(note)
    panels: dict[str, dict[str, dict[int, list[float]]]] = {"cases": {}, "voxels": {}, "classes": {}}
    asked = [("cases", size) for size in counts]
    asked += [(f"voxels-{what}", size) for what in ("step", "window") for size in edges]
    asked += [(f"classes-{what}", size) for what in ("step", "window", "metrics") for size in labels]
    for what, size in asked:
        for name, values in point(options, what, size).items():
            kind = what.partition("-")[0]
            panels[kind].setdefault(name, {})[size] = values
            print(f"{kind:8s} {size:5d} {LABELS[name]:22s} {values[0]:9.3f} s {values[1]:8.1f} MiB", flush=True)
    run = point(options, "run", options.steps)["run"]
    print("held by the process, MiB: " + ", ".join(f"{held:.0f} at {step}" for step, held in zip(*run, strict=True)))
    early = statistics.median(run[1][: max(1, len(run[1]) // 3)])
    print(f"the last is {run[1][-1] / early:.3f} times the median of the first third")
    draw(options.out, panels, run, f"dashed: in proportion; {note}")
    print(options.out)


if __name__ == "__main__":
    main()
