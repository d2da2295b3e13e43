"""Predict: scans in, masks and uncertainty maps out, on each scan's own grid and in its own format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paucis.data import dicom
from paucis.data.case import Case, Volume
from paucis.data.field import FieldOf, field_reader
from paucis.data.formats import members as files_of
from paucis.data.layouts import recognize
from paucis.data.layouts import scans as find_scans
from paucis.data.segment_codes import Codes, read_codes
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import CasePrediction, predict_case
from paucis.options import build
from paucis.workflows.attempt import attempt
from paucis.workflows.opening import opened
from paucis.workflows.prediction_folder import Predictions, PredictionWriter
from paucis.workflows.prediction_processes import Order, in_processes

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""

SHOWN = 3  # failed scans named in the last message; the manifest names all


FORMS = ("own", "dicom-seg")
ROLES = ("val", "test", "labeled", "unlabeled")


def predict(
    run: str | Path,
    scans: str | Path,
    *,
    out: str | Path,
    also: Sequence[str | Path] = (),
    options: PredictOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    weights: str | None = None,
    role: str | None = None,
    series: str | None = None,
    form: str = "own",
    save_probabilities: bool = False,
    keep: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Predictions:
    """Predicts a scan or a folder of scans.

    Writes ``OUT/CASE.ext`` (the dataset's own mask values), ``OUT/maps/CASE_entropy.ext``, ``..._confidence.ext`` and
    further maps, ``OUT/samples/CASE_K.ext`` where samples are asked for, ``OUT/cases.csv`` and ``OUT/manifest.json``.
    Files appear when they are complete; the manifest lists the finished cases only and is brought up to date after
    each.

    Args:
        run: run folder.
        scans: a file or a folder.
        out: folder for the predictions; made when missing.
        also: further runs, which make an ensemble with the first.
        options: ``PredictOptions``, or their values by dotted name (``{"predict.overlap": "0.25"}``).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights: ``best`` or ``last``; None takes the best where validation chose one.
        role: ``val``, ``test``, ``labeled`` or ``unlabeled``: of the dataset ``scans``, only the cases that the (first)
            run's split gives this role.
        series: of DICOM scans, the series to predict (``paucis.data.dicom.files.choose``); None takes all.
        form: ``own``, each scan's own format (NIfTI for DICOM scans); or ``dicom-seg``, masks as DICOM segmentations.
        save_probabilities: also writes one map of probabilities per class.
        keep: leave the cases that an earlier call wrote to ``out`` in its table and manifest.
        jobs: processes of a CPU among which the cases are divided; each holds the runs and a scan of its own.
        progress: told before the first case and after each.

    Raises:
        PaucisError: no scans, not a run folder, runs that do not fit together, a device that is not there, or an
            output that cannot be written; also, when all other scans are done, scans that could not be predicted.
    """
    members, chosen = opened((run, *also), prediction_options(options, save_probabilities), device, weights)
    if role:
        cases = _of_role(members[0], Path(scans), role, series)
    else:
        cases = find_scans(Path(scans), members[0].task.channels, series)
    _check_out(cases, Path(out))
    _check_form(cases, form)
    if jobs > 1 and members[0].device.type != "cpu":
        raise PaucisError(f"--jobs {jobs}: processes share the cores of a CPU: leave it out, or add --device cpu")
    tell = progress or (lambda done, total: None)
    runs = [str(folder) for folder in (run, *also)]
    field = field_reader(chosen.field, members[0].plan.field, cases)
    writer = PredictionWriter(Path(out), members[0].plan, runs, _codes(members[0], form), keep=keep)
    try:
        tell(0, len(cases))
        if jobs > 1 and len(cases) > 1:
            order = Order(tuple(runs), weights, chosen, writer.codes, writer.out, writer.partial, min(jobs, len(cases)))
            for number, (case, saved, reason) in enumerate(in_processes(order, cases), 1):
                if saved is None:
                    writer.fail(case, reason)
                else:
                    writer.take(saved)
                tell(number, len(cases))
        else:
            for number, case in enumerate(cases, 1):
                _one(case, members, chosen, writer, field)
                tell(number, len(cases))
    finally:
        writer.close()
    _report(writer.result, len(cases))
    return writer.result


def _check_form(cases: Sequence[Case], form: str) -> None:
    if form not in FORMS:
        raise PaucisError(f"--format {form}: must be one of {', '.join(FORMS)}")
    other = next((case.images[0] for case in cases if not dicom.fits(case.images[0])), None)
    if form == "dicom-seg" and other is not None:
        raise PaucisError(f"{other} is no DICOM scan, which a DICOM segmentation must refer to: use --format own")


def _codes(run: Run, form: str) -> Codes | None:
    """What the classes are in a coding scheme, where segmentation objects are written."""
    return read_codes(run.folder.segments_file) if form == "dicom-seg" else None


def _of_role(run: Run, dataset: Path, role: str, series: str | None) -> list[Case]:
    if role not in ROLES:
        raise PaucisError(f"--role {role}: must be one of {', '.join(ROLES)}")
    names = set(getattr(run.folder.split(), role))
    found = recognize(dataset, series or run.config.data.series).cases
    cases = [case.unlabeled() for case in found if case.name in names]
    if not cases:
        raise PaucisError(f"{dataset}: holds no case that the split of {run.folder.path} gives the role '{role}'")
    return cases


def prediction_options(
    options: PredictOptions | Mapping[str, Any] | None, save_probabilities: bool = False
) -> PredictOptions:
    """``PredictOptions`` of their values by dotted name.

    Raises:
        PaucisError: an unknown option, one of another section, or a value that does not fit.
    """
    if not isinstance(options, PredictOptions):
        given = {}
        for key, value in (options or {}).items():
            section, _, name = key.rpartition(".")
            if section not in ("", "predict"):
                raise PaucisError(
                    f"unknown option '{key}': prediction takes predict.* only, such as predict.overlap=0.25"
                )
            given[name] = value
        options = build(PredictOptions, given, "predict.")
    if save_probabilities and "probabilities" not in options.maps:
        options = replace(options, maps=(*options.maps, "probabilities"))
    return options


def _check_out(cases: Sequence[Case], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise PaucisError(f"{out}: is a file; --out needs a folder")
    folder = out.resolve()
    for parent in {file.resolve().parent for case in cases for image in case.images for file in _files(image)}:
        if parent in (folder, folder / "maps"):
            raise PaucisError(f"{out}: holds the scans, which predictions must not overwrite: choose another --out")


def _files(image: Path) -> list[Path]:
    try:
        return files_of(image)
    except PaucisError:  # told when the case's turn comes
        return [image]


def _one(case: Case, members: Sequence[Run], options: PredictOptions, writer: PredictionWriter, field: FieldOf) -> None:
    """Predicts and writes one case; what is wrong with the scan itself is noted and the others go on."""

    def act(volume: Volume) -> CasePrediction:
        return predict_case(members, volume, options, allocate=writer.files.allocate, field=field(case, volume))

    prediction, reason = attempt(case, act)
    if prediction is None:
        writer.fail(case, reason)
        return
    try:
        writer.add(case, prediction)
    except dicom.UnfitSourceError as error:
        writer.fail(case, str(error))


def _report(result: Predictions, total: int) -> None:
    if not result.failed:
        return
    reasons = list(result.failed.values())
    more = f"; and {len(reasons) - SHOWN} more, see {result.manifest}" if len(reasons) > SHOWN else ""
    others = f" (the others are in {result.out})" if result.masks else ""
    raise PaucisError(f"{len(reasons)} of {total} scans not predicted{others}: {'; '.join(reasons[:SHOWN])}{more}")


__all__ = ["Predictions", "predict", "prediction_options"]
