"""Prediction of many cases in several processes of a CPU: each holds the runs and writes the files of its cases."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paucis.data import dicom
from paucis.data.case import Case, Volume
from paucis.data.field import field_reader
from paucis.data.processes import single_threaded, spawned
from paucis.data.segment_codes import Codes
from paucis.engine import devices
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import CasePrediction, predict_case
from paucis.workflows.attempt import attempt
from paucis.workflows.opening import opened
from paucis.workflows.prediction_files import CaseFiles, Saved


@dataclass(frozen=True)
class Order:
    """What each of several processes is to do; everything in it can be pickled.

    Attributes:
        runs: folders of the run, and of the others of an ensemble.
        weights: ``best``, ``last`` or None.
        options: of the prediction, with a number for the temperature.
        codes: of the classes, where masks are DICOM segmentations.
        out: folder of the predictions.
        partial: folder below it of what is too large for memory; each process has one of its own in it.
        jobs: how many processes there are.
    """

    runs: tuple[str, ...]
    weights: str | None
    options: PredictOptions
    codes: Codes | None
    out: Path
    partial: Path
    jobs: int


class _Worker:
    """What a process keeps from case to case."""

    order: Order
    members: Sequence[Run]
    files: CaseFiles


def in_processes(order: Order, cases: Sequence[Case]) -> Iterator[tuple[Case, Saved | None, str]]:
    """What was saved of each case, in order; or None and the reason why it could not be predicted.

    Raises:
        PaucisError: a process was killed, or the folder cannot be written.
    """
    with spawned(_predict, cases, order.jobs, partial(_begin, order)) as futures:
        for case, future in zip(cases, futures, strict=True):
            try:
                saved, reason = future.result()
            except BrokenProcessPool as error:
                raise PaucisError(
                    f"a process that predicted was killed near {case.name}, most often for want of memory: "
                    "lower --jobs; the cases that are done are kept"
                ) from error
            yield case, saved, reason


def _begin(order: Order) -> None:
    """First call in every process: the cores are shared, the runs are opened once."""
    single_threaded()
    devices.share_cores(order.jobs)
    _Worker.members, _ = opened(order.runs, order.options, "cpu", order.weights)
    _Worker.order = order
    place = order.partial / str(os.getpid())
    place.mkdir(exist_ok=True)
    _Worker.files = CaseFiles(order.out, _Worker.members[0].plan, order.codes, place)


def _predict(case: Case) -> tuple[Saved | None, str]:
    order, members, files = _Worker.order, _Worker.members, _Worker.files
    field = field_reader(order.options.field, members[0].plan.field, [case])

    def act(volume: Volume) -> CasePrediction:
        return predict_case(members, volume, order.options, allocate=files.allocate, field=field(case, volume))

    prediction, reason = attempt(case, act)
    if prediction is None:
        return None, reason
    try:
        return files.save(case, prediction), ""
    except dicom.UnfitSourceError as error:
        return None, str(error)
