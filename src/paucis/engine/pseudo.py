"""Pseudo-labels of the unlabeled cases, written once by a stage's method for the stage after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
from torch import Tensor

from paucis.batch import Task
from paucis.engine import devices
from paucis.engine.config import Config
from paucis.inference.sliding import slabs
from paucis.methods.base import Method


@dataclass(frozen=True)
class PseudoCase:
    """An unlabeled case with what a method thinks of it.

    Attributes:
        case: the cached case (its image).
        labels: (Z, Y, X) uint8 class indices on the planned grid.
        confidence: (Z, Y, X) float16 largest probability.
    """

    case: Any
    labels: Any
    confidence: Any


def write_pseudo_labels(
    folder: Path, method: Method, task: Task, cases: Sequence[Any], config: Config
) -> list[PseudoCase]:
    """Predicts every case by sliding window on the planned grid; cases that are there already are kept.

    Args:
        folder: of the stage that will read them.
        method: the stage before, trained.
        task: the task.
        cases: cached unlabeled cases.
        config: of the run.
    """
    device = devices.resolve(config.device)
    method = method.to(device).eval()
    target = folder / "pseudo-labels"
    target.mkdir(parents=True, exist_ok=True)
    if devices.rank() == 0:
        for case in cases:
            if not (target / f"{case.name}.confidence.b2nd").is_file():
                _write(target, method, task, case, config, device)
    return [opened_labels(target, case) for case in cases]


def opened_labels(target: Path, case: Any) -> PseudoCase:
    """A case's pseudo-labels that ``save_labels`` writes to the folder ``target``; further processes wait for it."""
    while devices.rank() and not (target / f"{case.name}.confidence.b2nd").is_file():
        time.sleep(0.2)
    labels, confidence = (
        blosc2.open(str(target / f"{case.name}.{kind}.b2nd"), mode="r") for kind in ("labels", "confidence")
    )
    return PseudoCase(case, labels, confidence)


def save_labels(target: Path, name: str, labels: Any, confidence: Any) -> None:
    """Writes labels (Z, Y, X) uint8, then their confidence (Z, Y, X) float16, each whole or not at all."""
    for kind, array in (("labels", labels), ("confidence", confidence)):
        temporary = target / f".{name}.{kind}.part.b2nd"
        temporary.unlink(missing_ok=True)
        blosc2.asarray(array, urlpath=str(temporary), mode="w")
        temporary.rename(target / f"{name}.{kind}.b2nd")


def _write(target: Path, method: Method, task: Task, case: Any, config: Config, device: torch.device) -> None:
    precision = devices.precision(config.train.precision, device)

    def predict(windows: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), devices.autocast(precision, device):
            return {"probabilities": method.predict(windows).additive["probabilities"]}

    size = case.image.shape[1:]
    labels, confidence = np.zeros(size, np.uint8), np.zeros(size, np.float16)
    patch = (1,) * (3 - task.ndim) + task.patch
    for slab in slabs(case.image, patch, predict, overlap=config.validation.overlap, device=device):
        best = slab.maps["probabilities"].max(0)
        labels[slab.start : slab.stop] = best.indices.cpu().numpy()
        confidence[slab.start : slab.stop] = best.values.cpu().numpy()
    save_labels(target, case.name, labels, confidence)
