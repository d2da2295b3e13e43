"""Dice of the validation cases on the planned grid, by sliding window, shared among processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paucis.batch import IGNORE, Task
from paucis.engine.config import ValidationOptions
from paucis.engine.devices import Precision, autocast
from paucis.inference.sliding import slabs
from paucis.methods.base import Method


def validate(
    method: Method,
    task: Task,
    cases: Sequence[Any],
    options: ValidationOptions,
    device: torch.device,
    precision: Precision,
    reduce: Callable[[Tensor], Tensor],
    rank: int = 0,
    world: int = 1,
) -> list[float]:
    """Mean Dice per foreground class over the cases.

    A case counts for a class when the reference or the prediction holds it: a missed or invented structure is 0, a
    rightly absent one is left out.

    Args:
        method: put into eval mode for the time being.
        task: the task.
        cases: cached cases with labels.
        options: ``validation.*``.
        device: where windows are computed.
        precision: arithmetic.
        reduce: sums a tensor over processes.
        rank: this process takes every ``world``-th case from here.
        world: number of processes.

    Returns:
        ``classes - 1`` values; NaN for a class that no case holds.
    """
    sums = torch.zeros(2, task.classes - 1, dtype=torch.float64, device=device)
    training = method.training
    method.eval()
    with torch.no_grad():
        for case in list(cases)[: options.cases][rank::world]:
            dice = torch.as_tensor(_case_dice(method, task, case, options, device, precision), device=device)
            seen = ~dice.isnan()
            sums[0][seen] += dice[seen]
            sums[1] += seen
    method.train(training)
    sums = reduce(sums)
    return [float(total / count) if count else float("nan") for total, count in zip(sums[0], sums[1], strict=True)]


def _case_dice(
    method: Method, task: Task, case: Any, options: ValidationOptions, device: torch.device, precision: Precision
) -> np.ndarray[Any, Any]:
    patch = (1,) * (3 - task.ndim) + task.patch
    labels = np.asarray(case.label[:])
    counts = np.zeros((3, task.classes), dtype=np.int64)  # hits, predicted, reference

    def predict(windows: Tensor) -> dict[str, Tensor]:
        with autocast(precision, device):
            return {"probabilities": method.predict(windows).additive["probabilities"]}

    for slab in slabs(case.image, patch, predict, overlap=options.overlap, device=device):
        predicted = slab.maps["probabilities"].argmax(0).cpu().numpy()
        reference = labels[slab.start : slab.stop]
        known = reference != IGNORE
        if case.field is not None:
            known &= case.field[slab.start : slab.stop] > 0
        predicted, reference = predicted[known], reference[known]
        counts[0] += np.bincount(reference[predicted == reference], minlength=task.classes)[: task.classes]
        counts[1] += np.bincount(predicted, minlength=task.classes)[: task.classes]
        counts[2] += np.bincount(reference, minlength=task.classes)[: task.classes]
    hits, sizes = counts[0, 1:], counts[1, 1:] + counts[2, 1:]
    return np.where(sizes > 0, 2.0 * hits / np.maximum(sizes, 1), np.nan)
