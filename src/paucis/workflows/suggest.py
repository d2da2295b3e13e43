"""Suggest: which scans of a pool to label next, by a rule, with a picture of each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paucis.data.case import Case, Volume
from paucis.data.groups import group_of
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.evaluation.review import Doubt, Look, draw_looks, look_at
from paucis.evaluation.suggestion import NEEDS, Choice, Figures, Suggestion, check_rule, choose, write_suggestions
from paucis.evaluation.tables import number
from paucis.inference.figures import check_draws, foreground_of
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import predict_case
from paucis.workflows.attempt import attempt, named
from paucis.workflows.opening import opened
from paucis.workflows.predict import prediction_options
from paucis.workflows.suggestion_figures import Notes, look
from paucis.workflows.suggestion_pool import Pool, find_pool

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SHEET = 12
"""Suggestions on the sheet."""
SHOWN = 3  # scans named in the last message
_PICTURE = re.compile(r"\d{2,}_.*\.png")


@dataclass(frozen=True)
class Suggested:
    """What was chosen, and where it lies.

    Attributes:
        table: the CSV.
        sheet: one picture of the first suggestions.
        pictures: folder with a picture of each.
        suggestions: the first to label on top.
        pool: scans that could have been chosen.
        left_out: scans of the place that are labeled or held out in a run.
    """

    table: Path
    sheet: Path
    pictures: Path
    suggestions: list[Suggestion]
    pool: int
    left_out: int


def suggest(
    run: str | Path,
    pool: str | Path,
    *,
    count: int,
    out: str | Path,
    rule: str = "foreground",
    also: Sequence[str | Path] = (),
    seed: int = 0,
    group: str | None = None,
    one_per_patient: bool = False,
    options: PredictOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    weights: str | None = None,
    series: str | None = None,
    progress: Progress | None = None,
) -> Suggested:
    """Chooses the scans to label next, never one that a run has labeled or held out; no label is opened.

    Writes the table ``OUT.csv``, a sheet ``OUT.png`` and ``OUT_pictures/`` with a picture of each suggestion. What the
    runs say of each scan is remembered there: a stopped call goes on, and another rule need not predict again.

    Args:
        run: run folder.
        pool: a dataset, a folder of scans, or a scan.
        count: how many to choose.
        out: the table, ``.csv``.
        rule: ``random``, ``foreground``, ``entropy``, ``mutual_information`` or ``core_set``
            (``paucis.evaluation.suggestion.choose``).
        also: further runs, which make an ensemble with the first.
        seed: of the lots that ``random`` and ``foreground`` draw.
        group: regular expression that finds the patient in a case's name; None as the run.
        one_per_patient: of no patient more than one, and none of a patient with a labeled scan.
        options: ``PredictOptions``, or their values by dotted name.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights: ``best`` or ``last``; None takes the best where validation chose one.
        series: of DICOM scans, the series to take; None as the run.
        progress: told how far it is.

    Raises:
        PaucisError: anything the user can mend, in one line; also, when all others are done, scans that could not be
            looked at.
    """
    table, tell = Path(out), progress or (lambda what, done, total: None)
    check_rule(rule)
    if count < 1:
        raise PaucisError(f"--count={count} must be 1 or more")
    if seed < 0:
        raise PaucisError(f"--seed={seed} must be 0 or more")
    if table.suffix.lower() != ".csv" or table.is_dir():
        raise PaucisError(f"{table}: the table must be a .csv file: choose another --out")
    runs, chosen = opened((run, *also), prediction_options(options), device, weights)
    if rule == "mutual_information":
        check_draws(runs, chosen)
    found = find_pool(
        runs,
        Path(pool),
        series=series,
        group=group,
        one_per_patient=one_per_patient,
        with_labeled=rule == "core_set",
    )
    _check_count(count, found, one_per_patient)
    folder = table.with_name(f"{table.stem}_pictures")
    notes = Notes(folder / ".figures.jsonl", runs, chosen)
    figures, failed = look(
        runs,
        (*found.labeled, *found.cases),
        NEEDS[rule],
        chosen,
        notes,
        lambda done, total: tell("looking at scans", done, total),
    )
    total = len(found.labeled) + len(found.cases)
    picked, looks = _shown(runs, found, figures, failed, rule, count, seed, one_per_patient, chosen, tell)
    if not picked:
        raise PaucisError(_failures(failed, total, None))
    cases = {case.name: case for case in found.cases}
    suggestions = [
        Suggestion(rank, name, group_of(cases[name]), cases[name].images, rule, choice.score)
        for rank, (name, choice) in enumerate(picked, 1)
    ]
    sheet = table.with_suffix(".png")
    write_suggestions(table, suggestions)
    _draw(sheet, folder, suggestions, looks, runs[0].plan.classes)
    if failed:
        raise PaucisError(_failures(failed, total, table))
    return Suggested(table, sheet, folder, suggestions, len(found.cases), found.left_out)


def pick(
    rule: str, pool: Pool, figures: Mapping[str, Figures], count: int, seed: int, one_per_patient: bool
) -> list[tuple[str, Choice]]:
    """The chosen of the pool's scans that have figures, by name, the most wanted first."""
    free = [case for case in pool.cases if case.name in figures]
    chosen = choose(
        rule,
        [figures[case.name] for case in free],
        count,
        seed=seed,
        centers=[figures[case.name].features for case in pool.labeled if case.name in figures],
        groups=[group_of(case) for case in free] if one_per_patient else None,
    )
    return [(free[one.place].name, one) for one in chosen]


def _check_count(count: int, pool: Pool, one_per_patient: bool) -> None:
    most = len(set(pool.patients)) if one_per_patient else len(pool.cases)
    if count > most:
        what = "patients" if one_per_patient else "scans"
        raise PaucisError(
            f"--count={count} asks for more than there is: {most} {what} that may be suggested ({pool.left_out} scans "
            f"are labeled or held out); ask for at most {most}"
        )


def _shown(
    runs: Sequence[Run],
    pool: Pool,
    figures: dict[str, Figures],
    failed: dict[str, str],
    rule: str,
    count: int,
    seed: int,
    one_per_patient: bool,
    options: PredictOptions,
    tell: Progress,
) -> tuple[list[tuple[str, Choice]], dict[str, Look]]:
    """The choice, each with what its picture shows; a scan that cannot be shown makes room for the next."""
    cases, looks = {case.name: case for case in pool.cases}, dict[str, Look]()
    shown = "mutual_information" if rule == "mutual_information" else "entropy"
    while True:
        picked = pick(rule, pool, figures, count, seed, one_per_patient)
        fresh = [name for name, _ in picked if name not in looks]
        broken = False
        for place, name in enumerate(fresh):
            tell("drawing", len(picked) - len(fresh) + place, len(picked))
            act = lambda volume, case=cases[name]: _look(runs, case, volume, options, shown)  # noqa: E731
            seen, reason = attempt(cases[name], act)
            if seen is None:
                failed[name] = named(cases[name], reason)
                del figures[name]
                broken = True
            else:
                looks[name] = seen
        if not broken:
            tell("drawing", len(picked), len(picked))
            return picked, looks


def _look(runs: Sequence[Run], case: Case, volume: Volume, options: PredictOptions, shown: str) -> Look:
    prediction = predict_case(runs, volume, replace(options, maps=(shown,)))
    size = number(foreground_of(prediction))
    what = f"{size} mL" if prediction.geometry.physical else f"{size} of the image"
    return look_at(
        Doubt(
            f"{case.name}: predicted foreground {what}",
            prediction.mask,
            np.asarray(volume.array),
            prediction.maps[shown],
            volume.geometry,
        )
    )


def _draw(
    sheet: Path, folder: Path, suggestions: Sequence[Suggestion], looks: Mapping[str, Look], classes: Sequence[str]
) -> None:
    """A picture of each suggestion, and the sheet; pictures of an earlier call go."""
    digits = max(2, len(str(len(suggestions))))
    written, rows = set(), []
    for one in suggestions:
        score = "" if math.isnan(one.score) or one.rule == "foreground" else f" {number(one.score)}"
        row = looks[one.case]._replace(title=f"{one.rank}. {looks[one.case].title}, {one.rule}{score}")
        rows.append(row)
        name = f"{one.rank:0{digits}}_{re.sub(r'[^A-Za-z0-9._-]', '_', one.case)}.png"
        written.add(name)
        draw_looks(folder / name, [row], classes, _brightest([row]))
    draw_looks(sheet, rows[:SHEET], classes, _brightest(rows[:SHEET]))
    for old in folder.iterdir():
        if _PICTURE.fullmatch(old.name) and old.name not in written:
            old.unlink()


def _brightest(looks: Sequence[Look]) -> float:
    """The largest uncertainty shown: that of an ensemble is small, and would be black on a scale that ends at 1."""
    return max((float(one.uncertainty.max()) for one in looks if one.uncertainty is not None), default=0.0) or 1.0


def _failures(failed: Mapping[str, str], total: int, table: Path | None) -> str:
    reasons = list(failed.values())
    more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    others = f" (suggestions of the others: {table})" if table else ""
    return f"{len(reasons)} of {total} scans could not be looked at{others}: {'; '.join(reasons[:SHOWN])}{more}"
