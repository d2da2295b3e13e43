"""Calibrate: the temperature that makes a run, or an ensemble, as sure as it is right on labeled cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from paucis.data.case import Case
from paucis.data.formats import read_image, read_label
from paucis.data.grid import orient
from paucis.data.layouts import ignored, recognize
from paucis.engine.runs import Run, open_run
from paucis.errors import PaucisError
from paucis.evaluation.masks.values import UNKNOWN, to_classes
from paucis.evaluation.reliability.bins import Bins
from paucis.evaluation.reliability.calibration import Fit, fit_temperature
from paucis.evaluation.reliability.cases import around
from paucis.inference.dropout import check_dropout
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import check_ensemble, probability_slabs
from paucis.options import build
from paucis.uncertainty.temperature import tempered
from paucis.workflows.temperature import save

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""

ROLES = ("val", "test", "all")
VOXELS = 100_000
"""Voxels of a case that are kept at most, drawn at random."""


class Voxels(NamedTuple):
    """Probabilities (N, K) and labels (N,) of the voxels of some cases, and the weight of each."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.uint8]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What was fitted.

    Attributes:
        fit: temperature, negative log-likelihood before and after.
        ece: expected calibration error before and after, of the same voxels.
        cases: names of the cases.
        voxels: how many were looked at.
        saved: where the temperature was written; None for an ensemble.
    """

    fit: Fit
    ece: tuple[float, float]
    cases: tuple[str, ...]
    voxels: int
    saved: Path | None


def calibrate(
    run: str | Path,
    dataset: str | Path,
    *,
    also: Sequence[str | Path] = (),
    role: str = "val",
    options: PredictOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    weights: str | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Fits a temperature on labeled cases that the run has not trained on, and saves it in the run.

    Voxels are those of the box around the reference with a margin, each case counting alike.

    Args:
        run: run folder.
        dataset: that holds the cases.
        also: further runs of an ensemble; the temperature is then told, not saved.
        role: ``val`` or ``test`` of the run's split, or ``all`` labeled cases that the run did not train on.
        options: of prediction, as in ``predict``.
        device: as in ``predict``.
        weights: ``best`` or ``last``.
        progress: told after every case.

    Raises:
        PaucisError: no such cases, masks that do not fit, or nothing that a temperature could better.
    """
    given = (
        {str(key).rpartition(".")[2]: value for key, value in (options or {}).items()}
        if not isinstance(options, PredictOptions)
        else {}
    )
    chosen = options if isinstance(options, PredictOptions) else build(PredictOptions, given, "predict.")
    members = [open_run(folder, device, weights) for folder in (run, *also)]
    check_ensemble(members)
    check_dropout([member.method for member in members], chosen.dropout)
    cases, unknown = _cases(members[0], Path(dataset), role)
    found = []
    for number, case in enumerate(cases, 1):
        found.append(_voxels(case, members, chosen, unknown, number))
        if progress:
            progress(number, len(cases))
    voxels = Voxels(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    fit = fit_temperature(*voxels)
    ece = _ece(voxels, 1.0), _ece(voxels, fit.temperature)
    names = tuple(case.name for case in cases)
    content = {
        "temperature": fit.temperature,
        "nll": [fit.before, fit.after],
        "ece": list(ece),
        "role": role,
        "cases": list(names),
        "voxels": len(voxels.labels),
    }
    saved = None if also else save(members[0], chosen, content)
    return Calibration(fit, ece, names, len(voxels.labels), saved)


def _cases(run: Run, path: Path, role: str) -> tuple[list[Case], frozenset[int]]:
    """The labeled cases of a role, and the raw values that do not count."""
    if role not in ROLES:
        raise PaucisError(f"--role {role}: must be one of {', '.join(ROLES)}")
    dataset, split = recognize(path), run.folder.split()
    trained = {*split.labeled, *split.unlabeled}
    names = {case.name for case in dataset.cases} - trained if role == "all" else set(getattr(split, role))
    cases = [case for case in dataset.cases if case.name in names and case.label is not None]
    if not cases:
        raise PaucisError(
            f"{path}: holds no labeled case of the role '{role}' of {run.folder.path}: train with validation cases, or "
            "calibrate on others (--role all)"
        )
    return cases, ignored(dataset) | ({UNKNOWN} - set(run.plan.values))


def _voxels(case: Case, members: Sequence[Run], options: PredictOptions, unknown: frozenset[int], seed: int) -> Voxels:
    """What is kept of a case; of its probabilities, a slab is in memory at a time."""
    assert case.label is not None
    volume, label = read_image(case.images), read_label(case.label)
    if label.array.shape[1:] != volume.array.shape[1:]:
        raise PaucisError(f"{case.label} has another size than its image: correct the dataset (`paucis check`)")
    values = tuple(int(value) for value in members[0].plan.values)
    truth = to_classes(label.array[0], values, case.label, unknown)
    trace, slabs = probability_slabs(members, volume, options)
    truth = np.ascontiguousarray(orient(truth, trace))
    picked = _picked(truth, seed)
    kept: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.uint8]] = []
    for where, probabilities in slabs:
        here = picked[where.start : where.stop]
        kept.append(probabilities[:, torch.from_numpy(here).to(probabilities.device)].T.float().cpu().numpy())
        labels.append(truth[where.start : where.stop][here])
    count = max(int(np.count_nonzero(picked)), 1)
    return Voxels(np.concatenate(kept), np.concatenate(labels), np.full(sum(map(len, labels)), 1 / count))


def _picked(truth: NDArray[np.uint8], seed: int) -> NDArray[np.bool_]:
    """Voxels of the box around the reference, drawn at random where there are more than ``VOXELS``."""
    known = truth != UNKNOWN
    inside = known & (truth > 0)
    box = around(inside) if inside.any() else (slice(None),) * truth.ndim
    picked = np.zeros(truth.shape, bool)
    part = known[box]
    share = VOXELS / max(int(np.count_nonzero(part)), 1)
    if share < 1:
        part = part & (np.random.default_rng(seed).random(part.shape, np.float32) < share)
    picked[box] = part
    return picked


def _ece(voxels: Voxels, temperature: float) -> float:
    p = tempered(torch.from_numpy(voxels.probabilities), temperature, dim=1).numpy()
    bins = Bins()
    bins.add(p.max(1), p.argmax(1) == voxels.labels)
    return bins.ece
