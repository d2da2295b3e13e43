"""Runs opened to predict with: an ensemble that fits together, and options that it can follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paucis.engine.runs import Run, open_run
from paucis.inference.dropout import check_dropout
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import check_ensemble
from paucis.inference.sampling import check_samples
from paucis.workflows.temperature import resolved


def opened(
    runs: Sequence[str | Path], options: PredictOptions, device: str, weights: str | None
) -> tuple[list[Run], PredictOptions]:
    """The runs of an ensemble, ready to predict, and the options with a number for the temperature.

    Raises:
        PaucisError: not a run folder, runs that do not fit together, a device that is not there, or options that the
            runs cannot follow.
    """
    members = [open_run(folder, device, weights) for folder in runs]
    check_ensemble(members)
    if options.output is not None:
        for member in members:
            member.method.choose(options.output)
    check_samples(members, options.samples, options.dropout)
    check_dropout([member.method for member in members], options.dropout)
    options = resolved(options, members)
    for member in members:
        options.strides(member.plan.window, member.task.ndim)  # refuses those that do not fit, before any scan is read
    return members, options
