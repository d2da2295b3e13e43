"""A few steps of a planned training on made-up cases, in a process of its own, to see what it takes.

``python -m paucis.workflows.rehearsal FOLDER`` does what ``FOLDER/job.json`` and ``FOLDER/plan.json`` say and writes
``FOLDER/result.json``. Engine, method, network, batch and patch are those of the training; what is made up are cases
that are little larger than a crop.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paucis.data.cache import sample_positions
from paucis.data.cached import CachedCase, compress
from paucis.data.case import Geometry
from paucis.data.grid import Shape, Trace
from paucis.data.plan import Plan
from paucis.data.planfile import load_plan
from paucis.data.shapes import read_shapes
from paucis.engine import devices
from paucis.engine.config import Config, from_dict
from paucis.engine.files import write_json
from paucis.engine.fit import Material, fit
from paucis.engine.runs import RunFolder, open_run
from paucis.engine.validate import validate
from paucis.errors import PaucisError
from paucis.files import write
from paucis.methods.base import METHODS
from paucis.workflows.benchmark.worker import Gauge, steps_taken

CASES = 2  # labeled, and as many unlabeled
SLICES = 8
VALIDATIONS = 3
EXHAUSTED = (
    "memory ran out",
    "t allocate memory",
    "annot allocate memory",
    "bad_alloc",
    "out of memory",
    "could not create",
    "failed to map",
    "can't start new thread",
)
"""What PyTorch, oneDNN, NumPy and the system say where there is no memory left."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes seconds and bytes, or the reason why there are none; returns 0 in either case."""
    folder = Path((sys.argv[1:] if arguments is None else arguments)[0])
    job = json.loads((folder / "job.json").read_text())
    config, plan = from_dict(job["config"]), load_plan(folder / "plan.json")
    device = devices.resolve(config.device)
    warnings.simplefilter("ignore")
    try:
        result = rehearse(folder, config, plan, device, job["batch_size"], job["available"])
    except (PaucisError, RuntimeError, MemoryError, OSError, ImportError) as error:
        told = " ".join(str(error).split())
        exhausted = isinstance(error, MemoryError) or any(words in told for words in EXHAUSTED)
        if not exhausted and not isinstance(error, PaucisError):
            raise
        result = {"error": told, "exhausted": exhausted}
    write_json(folder / "result.json", result)
    return 0


def rehearse(
    folder: Path, config: Config, plan: Plan, device: torch.device, batch_size: int, available: int | None = None
) -> dict[str, Any]:
    """Seconds of a step and of validating one of the made-up cases, voxels of such a case, and bytes at most.

    Args:
        folder: for whatever is written.
        config: of the training, with few steps.
        plan: of the training.
        device: where it computes.
        batch_size: labeled crops a step.
        available: bytes that may be taken beside what the process holds, on a CPU; None for any.
    """
    run, task, method = RunFolder(folder / "run"), plan.task(), METHODS.get(config.method)
    run.path.mkdir()
    plan.save(run.plan_file)
    write_json(run.config_file, config.as_dict())
    cases = made_up(folder, plan)
    shapes = (
        read_shapes(config.data.shapes, task, config.data) if method.uses_references and config.data.shapes else None
    )
    material = Material(
        cases[:CASES] if method.uses_labeled else [], cases[CASES:] if method.uses_unlabeled else [], [], shapes
    )
    if device.type == "cpu" and available:
        _limit(available)
    gauge = Gauge()
    fit(run, config, task, plan.classes, material, batch_size, gauge.step)
    _, step = steps_taken(run.training_file)
    result: dict[str, Any] = {"step": step, "case": 0.0, "voxels": math.prod(cases[0].shape)}
    if method.uses_labeled:
        result["case"] = _validation(run, config, cases[0])
    result["bytes"] = _bytes(gauge, device)
    return result


def made_up(folder: Path, plan: Plan) -> list[CachedCase]:
    """Cases of slabs, one for each class, in noise; at most twice the patch along each axis, or a few slices."""
    z, y, x = (min(size, 2 * window) for size, window in zip(plan.median_shape, plan.window, strict=True))
    shape: Shape = (min(plan.median_shape[0], SLICES) if plan.ndim == 2 else z, y, x)
    classes = len(plan.classes)
    label = np.broadcast_to(np.arange(shape[2]) * classes // shape[2], shape).astype(np.uint8)
    positions = BytesIO()
    np.save(positions, sample_positions(label, classes), allow_pickle=False)
    trace = Trace(Geometry(), shape, (0, 1, 2), (), shape, shape)
    rng = np.random.default_rng(0)
    cases = []
    for number in range(2 * CASES):
        image = label + rng.standard_normal((len(plan.channels), *shape), dtype=np.float32)
        files = {"image.b2nd": compress(image, plan.ndim), "label.b2nd": compress(label, plan.ndim)}
        files["label.npy"] = positions.getvalue()
        paths = [folder / f"{number}-{name}" for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            write(path, lambda draft, content=content: draft.write_bytes(content), "free space")  # type: ignore[misc]
        cases.append(CachedCase(f"made-up {number}", trace, paths[0], paths[1], paths[2]))
    return cases


def _validation(folder: RunFolder, config: Config, case: CachedCase) -> float:
    """Seconds of a case, the median of a few times."""
    run, times = open_run(folder.path, config.device), []
    for _ in range(VALIDATIONS):
        begun = time.perf_counter()
        validate(run.method, run.task, [case], config.validation, run.device, run.precision, lambda sums: sums)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _bytes(gauge: Gauge, device: torch.device) -> float:
    """What the device must have: of a GPU what PyTorch has reserved, else the most that this process ever held."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    return gauge.memory()["peak_memory_mib"] * 2**20


def _limit(available: int) -> None:
    """An allocation beyond what is free fails at once, before the machine begins to swap or to kill."""
    import resource

    page = resource.getpagesize()
    try:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * page
    except OSError:
        return  # not Linux
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + available
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


if __name__ == "__main__":
    sys.exit(main())
