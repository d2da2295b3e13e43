"""Pseudo-labels with their certainty, from many looks at every unlabeled case, for the stage that learns from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paucis.batch import IGNORE, Task
from paucis.engine import devices
from paucis.engine.config import Config
from paucis.engine.pseudo import PseudoCase, opened_labels, save_labels
from paucis.engine.seeds import derive
from paucis.inference.sliding import triple
from paucis.inference.surveys import SHARES, answered
from paucis.methods.shape_guided import CLUSTERING, ShapeGuided
from paucis.uncertainty.looks import Looks


def write_certain_labels(
    folder: Path,
    method: ShapeGuided,
    task: Task,
    cases: Sequence[Any],
    config: Config,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> list[PseudoCase]:
    """Labels every case by the mean of many looks (Eq. 21) and says how sure they are: 1 - u of Eq. 22.

    Cases that are there already are kept. Outside the field of view the label is ``IGNORE``.

    Args:
        folder: of the stage that the labels are of.
        method: that stage's method, trained.
        task: the task.
        cases: cached unlabeled cases.
        config: of the run.
        report: told after every case what a progress bar shows.
    """
    device = devices.resolve(config.device)
    method = method.to(device).eval()
    method.choose(CLUSTERING)
    target = folder / "pseudo-labels"
    target.mkdir(parents=True, exist_ok=True)
    if devices.rank() == 0:
        missing = [case for case in cases if not (target / f"{case.name}.confidence.b2nd").is_file()]
        began = time.perf_counter()
        for done, case in enumerate(missing, 1):
            looks, inside = _looked(method, task, case, config, device)
            labels = np.where(inside, looks.mask.numpy().astype(np.uint8), np.uint8(IGNORE))
            save_labels(target, case.name, labels, (1 - looks.uncertainty.numpy()).astype(np.float16))
            if report is not None:
                report(_progress(done, len(missing), time.perf_counter() - began))
    return [opened_labels(target, case) for case in cases]


def _progress(done: int, total: int, seconds: float) -> dict[str, Any]:
    speed = done / max(seconds, 1e-9)
    state = {"stage": "labels", "step": done, "total": total, "loss": None, "dice": None}
    return {**state, "speed": speed, "left": (total - done) / speed}


def _looked(
    method: ShapeGuided, task: Task, case: Any, config: Config, device: torch.device
) -> tuple[Looks, np.ndarray[Any, Any]]:
    precision = devices.precision(config.train.precision, device)
    looks = Looks(case.shape, method.options.views)
    patch = triple((*(1,) * (3 - task.ndim), *task.patch))
    image = case.image[:]
    field = None if case.field is None else case.field[:]
    for number in range(method.options.views):
        generator = torch.Generator().manual_seed(derive(config.seed, "look", case.name, number))
        settings: dict[str, Any] = {"overlap": config.validation.overlap, "device": device, "field": field}
        for slab in answered(
            image,
            method.looked(generator),
            patch,
            autocast=lambda: devices.autocast(precision, device),
            **settings,
        ):
            looks.add(slab.maps[SHARES][1], slice(slab.start, slab.stop))
    return looks, np.ones(case.shape, bool) if field is None else field > 0
