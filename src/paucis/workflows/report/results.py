"""What a report measures: a run's predictions on cases it has not trained on, their figures, their doubts."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis import __version__
from paucis.engine.runs import trained_stages
from paucis.errors import PaucisError
from paucis.evaluation.masks.maps import find_maps
from paucis.files import write_json
from paucis.workflows.evaluate import Evaluation, evaluate
from paucis.workflows.predict import predict
from paucis.workflows.reliability import Reliability, reliability
from paucis.workflows.report.subject import Subject

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, of all)."""

KEY = "report.json"
"""Says what the predictions in a folder were made from."""


@dataclass(frozen=True)
class Results:
    """What a run is worth.

    Attributes:
        predictions: folder of its masks and maps.
        evaluation: figures of its masks.
        reliability: of its probabilities; None where there are no maps of the confidence.
        notes: sentences on what was left out.
    """

    predictions: Path
    evaluation: Evaluation
    reliability: Reliability | None
    notes: tuple[str, ...]


def predicted(
    subject: Subject,
    role: str,
    *,
    weights: str | None,
    device: str,
    probabilities: bool,
    progress: Progress,
) -> tuple[Path, list[str]]:
    """Predicts a run's labeled cases of a role into ``RUN/report/ROLE``, but for those that lie there already.

    Returns:
        The folder, and a sentence where a case could not be predicted.

    Raises:
        PaucisError: as ``predict`` does, where no case at all could be predicted.
    """
    folder = subject.folder.path / "report" / role
    key = _key(subject, weights, probabilities)
    if _content(folder / KEY) != key:
        shutil.rmtree(folder, ignore_errors=True)  # of other weights
        write_json(folder / KEY, key)
    names = subject.labeled(role)
    left = [case for case in subject.dataset.cases if case.name in names and case.name not in _finished(folder)]
    if not left:
        return folder, []
    scans = [{"name": case.name, "image": [str(image.absolute()) for image in case.images]} for case in left]
    write_json(folder / "scans.json", {"cases": scans})
    try:
        predict(
            subject.folder.path,
            folder / "scans.json",
            out=folder,
            options={"maps": ("entropy", "confidence")},
            device=device,
            weights=weights,
            save_probabilities=probabilities,
            keep=True,
            progress=lambda done, total: progress(f"{subject.name}: predicting", done, total),
        )
    except PaucisError:
        failed = _content(folder / "manifest.json").get("failed", [])
        if not (failed and _finished(folder)):
            raise
        names = tuple(one["name"] for one in failed)
        return folder, [f"{len(names)} cases could not be predicted ({', '.join(names[:5])}) and are not counted."]
    return folder, []


def measured(subject: Subject, predictions: Path, out: Path, notes: Sequence[str], progress: Progress) -> Results:
    """Evaluates predictions, and their probabilities where there are maps of the confidence.

    Args:
        subject: the run.
        predictions: folder of masks.
        out: folder for the tables.
        notes: what is known already.
        progress: told after every case.

    Raises:
        PaucisError: as ``evaluate`` and ``reliability`` do.
    """
    root, data = subject.dataset.root, subject.config.data
    evaluation = evaluate(
        predictions,
        root,
        out=out / "evaluation",
        group=data.group,
        series=data.series,
        partial=True,  # of a whole dataset, the cases of a role
        progress=lambda done, total, _: progress(f"{subject.name}: comparing", done, total),
    )
    found = None
    if _judged(predictions):
        found = reliability(
            predictions,
            root,
            out=out / "reliability",
            group=data.group,
            series=data.series,
            partial=True,
            progress=lambda done, total: progress(f"{subject.name}: measuring probabilities", done, total),
        )
    notes = [*notes]
    cases = dict.fromkeys(row.case for row in evaluation.rows)
    trained = [name for name in cases if name in subject.split.train]
    if trained:
        notes.append(f"The run was trained on {len(trained)} of these cases, {trained[0]} the first: they flatter it.")
    if evaluation.unmatched:
        notes.append(f"{len(evaluation.unmatched)} predictions have no label and are not counted.")
    return Results(predictions, evaluation, found, tuple(notes))


def _judged(predictions: Path) -> bool:
    """Whether every case has a map of the confidence."""
    if not (predictions / "manifest.json").is_file() or not (predictions / "cases.csv").is_file():
        return False
    maps = find_maps(predictions)
    return bool(maps) and all("confidence" in one and one["confidence"].is_file() for one in maps.values())


def _key(subject: Subject, weights: str | None, probabilities: bool) -> dict[str, Any]:
    """What decides on a prediction: the weights, the plan, the dataset, the version."""
    digest = hashlib.sha256()
    for stage in trained_stages(subject.folder, subject.config):
        path = subject.folder.weights(stage.name, weights)
        digest.update(path.read_bytes() if path.is_file() else b"")
    digest.update(subject.folder.plan_file.read_bytes())
    root = str(subject.dataset.root.resolve())
    return {"paucis": __version__, "weights": digest.hexdigest(), "dataset": root, "probabilities": probabilities}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _finished(folder: Path) -> set[str]:
    """Names of the cases whose files are all there."""
    return {
        case["name"]
        for case in _content(folder / "manifest.json").get("cases", [])
        if all((folder / place).is_file() for place in (case["mask"], *case["maps"].values()))
    }
