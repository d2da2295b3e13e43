"""Report: one or several runs as a single HTML file, to read offline, on a screen or a phone, and to hand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from paucis import __version__
from paucis.errors import PaucisError
from paucis.evaluation.comparison.rows import align, read_results, together
from paucis.evaluation.comparison.tables import lines_of, notes_of
from paucis.files import write_text
from paucis.registry import nearest
from paucis.workflows.compare import METRICS, set_names
from paucis.workflows.report import sections
from paucis.workflows.report.gallery import Shown, build_gallery, choose_cases
from paucis.workflows.report.page import GENERATOR, Page, gallery_data, render
from paucis.workflows.report.results import Progress, Results, measured, predicted
from paucis.workflows.report.sections import Compared
from paucis.workflows.report.subject import Subject, read_subject

ROLES = ("test", "val")
WHICH = {"test": "test cases", "val": "validation cases", "": "predicted cases"}
MEGABYTE = 1_000_000
_AROUND = 2000  # bytes of a case in the page beside its pictures; ten times that for the rest of the gallery


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        out: the file.
        size: of it, in bytes.
        role: of the cases it judges; empty where predictions were given.
        cases: how many.
        shown: names of those in the gallery.
    """

    out: Path
    size: int
    role: str
    cases: int
    shown: tuple[str, ...]


def report(
    runs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    dataset: str | Path | None = None,
    role: str | None = None,
    predictions: Sequence[str | Path] = (),
    names: Sequence[str] = (),
    weights: str | None = None,
    device: str = "auto",
    probabilities: bool = False,
    cases: int = 6,
    show: Sequence[str] = (),
    slices: int = 24,
    limit: float = 20.0,
    force: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Writes the report of a run, or of several side by side.

    What is measured are cases that the run has not trained on. They are predicted into ``RUN/report/ROLE``, once: a
    further report, or one that was interrupted, takes what is there as long as weights and dataset are the same.

    Args:
        runs: run folders; several are compared with the first.
        out: the file; ``RUN/report.html`` by default, of a single run.
        dataset: where the runs' dataset lies now; by default where they were trained on it.
        role: ``test`` or ``val``; by default ``test`` where all runs have labeled test cases.
        predictions: folders that ``predict`` wrote, one for each run in order, in place of predicting a role.
        names: of the runs; by default those of their folders.
        weights: ``best`` or ``last``; None takes the best where validation chose one.
        device: that is predicted on.
        probabilities: measure the calibration of each class too, from maps of its probability.
        cases: in the gallery, from the worst to the best.
        show: names of cases for the gallery, in place of a choice.
        slices: of a case, at most.
        limit: of the file, in megabytes (10^6 bytes).
        force: overwrite a file that is no report.
        progress: told how far the work is.

    Raises:
        PaucisError: not a run, no cases to judge it by, runs that cannot be compared, a file that is in the way, or a
            limit that is too small.
    """
    paths, tell = [Path(run) for run in runs], progress or (lambda what, done, total: None)
    if not paths:
        raise PaucisError("which run? give a run folder: paucis report RUN")
    for path in paths:
        if not path.exists():
            raise PaucisError(f"{path}: no such run folder: check the path")
    place = _place(out, paths, force)
    _check(cases, slices, limit, predictions, paths, role)
    called = set_names(paths, names)
    home = Path(dataset) if dataset is not None else None
    subjects = [read_subject(name, path, home) for name, path in zip(called, paths, strict=True)]
    chosen = "" if predictions else _role(subjects, role)
    if chosen:
        _known(show, subjects[0].labeled(chosen))
    given: list[Path | None] = [Path(folder) for folder in predictions] or [None] * len(subjects)
    found = {
        subject.name: _measure(subject, chosen, folder, weights, device, probabilities, tell)
        for subject, folder in zip(subjects, given, strict=True)
    }
    page = _page(subjects, found, chosen)
    pictured = _cases(list(found.values()), show, cases)
    budget = round(limit * MEGABYTE) - len(render(page).encode())
    if budget < 0:
        raise PaucisError(f"--limit {limit:g}: the report has {limit - budget / MEGABYTE:.2g} MB without any picture")
    gallery = build_gallery(
        subjects,
        list(found.values()),
        pictured,
        slices,
        budget - _AROUND * (len(pictured) + 10),
        lambda done, total: tell("drawing cases", done, total),
    )
    text = render(_with(page, gallery, subjects, len(pictured), slices, limit))
    write_text(place, text, "choose another --out")
    first = next(iter(found.values())).evaluation.summary
    return Report(place, len(text.encode()), chosen, first.cases, tuple(one.name for one in gallery))


def _place(out: str | Path | None, runs: Sequence[Path], force: bool) -> Path:
    """The file to write; a folder that is missing or a file that is no report is refused before any work."""
    if out is None:
        if len(runs) > 1:
            raise PaucisError("several runs have no folder in common: say where the report goes (--out FILE.html)")
        return runs[0] / "report.html"
    place = Path(out)
    if place.suffix.lower() not in (".html", ".htm"):
        raise PaucisError(f"{place}: a report is an .html file: choose another --out")
    if not place.parent.is_dir():
        raise PaucisError(f"{place.parent}: no such folder: make it, or choose another --out")
    if place.exists() and not force and not _is_report(place):
        raise PaucisError(f"{place}: is there already and no report: choose another --out, or overwrite it (--force)")
    if place.is_dir():
        raise PaucisError(f"{place}: is a folder: choose another --out")
    return place


def _is_report(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return f'content="{GENERATOR}"' in file.read(2000)
    except (OSError, UnicodeDecodeError):
        return False


def _check(
    cases: int, slices: int, limit: float, predictions: Sequence[object], runs: Sequence[Path], role: str | None
) -> None:
    if cases < 0:
        raise PaucisError(f"--cases {cases}: must be 0 or more")
    if slices < 1:
        raise PaucisError(f"--slices {slices}: must be 1 or more")
    if not 0 < limit < float("inf"):
        raise PaucisError(f"--limit {limit}: must be above 0")
    if predictions and len(predictions) != len(runs):
        raise PaucisError(f"--predictions was given {len(predictions)} times for {len(runs)} runs: give one for each")
    if role is not None and role not in ROLES:
        raise PaucisError(f"--role {role}: must be one of {', '.join(ROLES)}")
    if role is not None and predictions:
        raise PaucisError("--role and --predictions exclude each other: given predictions are judged as they are")


def _role(subjects: Sequence[Subject], role: str | None) -> str:
    """The cases that all runs can be judged by."""
    for one in (role,) if role else ROLES:
        if all(subject.labeled(one) for subject in subjects):
            return one
    lacking = next((one for one in subjects if not any(map(one.labeled, (role,) if role else ROLES))), None)
    if lacking is None:
        raise PaucisError("the runs share neither labeled test nor labeled validation cases: report on each alone")
    what = WHICH[role].removesuffix("s") if role else "validation or test case"
    raise PaucisError(
        f"{lacking.folder.path}: its split has no {what} with a label: train with data.validation or data.test, or "
        "give predictions of other labeled cases (--predictions)"
    )


def _measure(
    subject: Subject,
    role: str,
    given: Path | None,
    weights: str | None,
    device: str,
    probabilities: bool,
    progress: Progress,
) -> Results:
    if given is not None:
        return measured(subject, given, subject.folder.path / "report" / "given", (), progress)
    folder, notes = predicted(
        subject, role, weights=weights, device=device, probabilities=probabilities, progress=progress
    )
    if role == "val" and weights != "last":
        notes.append("These cases chose the weights: figures on them flatter.")
    return measured(subject, folder, folder, notes, progress)


def _page(subjects: Sequence[Subject], found: dict[str, Results], role: str) -> Page:
    """Everything but the pictures."""
    names, which = list(found), WHICH[role]
    parts = [
        sections.data_section(subjects),
        sections.settings_section(subjects),
        sections.training_section(subjects),
        sections.results_section(found, which),
    ]
    if len(names) > 1:
        parts.append(sections.comparison_section(_compared(found), names[0]))
    parts += [sections.calibration_section(found), sections.risk_section(found)]
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    title = f"Report of {names[0]}" if len(names) == 1 else f"Report of {len(names)} runs: {', '.join(names)}"
    return Page(
        title=title,
        lead=sections.lead_of(found, which),
        made=f"Made {made} by paucis {__version__}.",
        sections=parts,
        foot="paucis is research software and not a medical device. Pictures in this file are scans of patients: "
        "handle it as you handle these.",
        gallery={},
    )


def _with(
    page: Page, gallery: Sequence[Shown], subjects: Sequence[Subject], wanted: int, slices: int, limit: float
) -> Page:
    """The page with its pictures."""
    section = sections.gallery_section(len(gallery), wanted, slices, limit)
    data = gallery_data(gallery, [one.name for one in subjects], subjects[0].plan.classes)
    return replace(page, sections=[*page.sections, *([section] if wanted else [])], gallery=data)


def _compared(found: dict[str, Results]) -> Compared:
    names = list(found)
    sets = [read_results(name, one.evaluation.out / "cases.csv", METRICS) for name, one in found.items()]
    shared, lone = together(sets, partial=True)
    aligned = {metric: align(sets, shared, metric) for metric in METRICS}
    lines = [line for metric, one in aligned.items() for line in lines_of(metric, one, names, 0)]
    notes = notes_of(lines)
    if lone:
        notes.append(f"Left out, for not all runs have them: {len(lone)} cases, {lone[0]} the first.")
    return Compared(lines, sets[0].unit, notes)


def _cases(found: Sequence[Results], wanted: Sequence[str], most: int) -> list[tuple[str, str]]:
    every = [dict.fromkeys(row.case for row in one.evaluation.rows) for one in found]
    shared = [name for name in every[0] if all(name in one for one in every)]
    _known(wanted, shared)
    return [(name, "chosen") for name in wanted] or choose_cases(found, shared, most)


def _known(wanted: Sequence[str], judged: Sequence[str]) -> None:
    """Refuses cases for the gallery that are not judged: before the work where that is known."""
    for name in wanted:
        if name not in judged:
            raise PaucisError(f"--case {name}: is not among the judged cases{nearest(name, list(judged))}")
