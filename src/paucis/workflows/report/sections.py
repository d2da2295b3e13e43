"""The sections of a report, from what was read and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paucis.evaluation.comparison.tables import Line
from paucis.evaluation.pictures.layers import PIXELS
from paucis.evaluation.reliability.tables import RULES
from paucis.evaluation.tables import figure
from paucis.workflows.report import tables
from paucis.workflows.report.curves import further_charts, loss_chart, median_seconds, validation_chart
from paucis.workflows.report.figures import calibration_charts, dice_chart, risk_chart
from paucis.workflows.report.page import Folded, Section
from paucis.workflows.report.results import Results
from paucis.workflows.report.subject import Subject, facts_of, flat_options, roles_of, settings_of, shown
from paucis.workflows.report.tables import Table

_NO_MAPS = (
    "The predictions have no maps of the confidence: predict with predict.maps=entropy,confidence, or let the report "
    "predict."
)


@dataclass(frozen=True)
class Compared:
    """Several runs against the first.

    Attributes:
        lines: by metric, class and run.
        unit: of lengths.
        notes: what a reader has to know.
    """

    lines: list[Line]
    unit: str
    notes: list[str]


def data_section(subjects: Sequence[Subject]) -> Section:
    """Dataset, plan, and who is what."""
    several = len(subjects) > 1
    head = ["", *(one.name for one in subjects)] if several else ["", ""]
    facts = [dict(facts_of(one)) for one in subjects]
    names = dict.fromkeys(name for one in facts for name in one)
    body = [[name, *(one.get(name, "-") for one in facts)] for name in names]
    roles = []
    for one in subjects:
        caption = f"Cases of {one.name}" if several else "Cases"
        roles.append(Table(["Role", "Cases", "Labels", "Patients"], roles_of(one), caption))
    same = [table.body for table in roles].count(roles[0].body) == len(roles)
    if same:
        roles = [Table(roles[0].head, roles[0].body, "Cases")]
    note = "Patients are counted where names or a list tell them; otherwise every case is its own."
    return Section("data", "Data and split", tables=[Table(head, body, words=1 + len(subjects)), *roles], notes=[note])


def settings_section(subjects: Sequence[Subject]) -> Section:
    """What was asked for, every option, versions and machine."""
    names = [one.name for one in subjects]
    wide = 1 + len(subjects)
    asked = Table(["Option", *names], settings_of(subjects), "Asked for", wide)
    flat = [flat_options(one.config) for one in subjects]
    every = dict.fromkeys(key for one in flat for key in one)
    options = Table(["Option", *names], [[key, *(one.get(key, "-") for one in flat)] for key in every], words=wide)
    known = dict.fromkeys(key for one in subjects for key in one.environment)
    body = [[key, *(shown(one.environment.get(key)) or "-" for one in subjects)] for key in known]
    versions = Table(["", *names], body, words=wide)
    return Section(
        "settings",
        "Configuration",
        tables=[asked],
        folded=[Folded("Every option", [options]), Folded("Versions and machine of the training", [versions])],
    )


def training_section(subjects: Sequence[Subject]) -> Section:
    """How the trainings went."""
    body = []
    for one in subjects:
        for stage, result in one.state.get("results", {}).items():
            best = result.get("best") or {}
            dice = f"{best['dice']:.3f} at step {best['step']}" if best else "not validated"
            body.append([one.name, stage, str(result["steps"]), dice])
    times = {one.name: median_seconds(one.training) for one in subjects}
    seconds = [f"{name} {value:.2f} s" for name, value in times.items() if not math.isnan(value)]
    above = [f"Median time of a step: {', '.join(seconds)}."] if seconds else []
    above += [f"{one.name} has not finished: this is how far it came." for one in subjects if one.unfinished]
    validation = validation_chart({one.name: one.validation for one in subjects})
    loss = loss_chart({one.name: one.training for one in subjects})
    further = further_charts({one.name: one.training for one in subjects})
    notes = ["Validation Dice is measured on the planned grid and chose the weights; it is not the Dice below."]
    if any(len(one.training.begins) > 1 for one in subjects):
        notes.append("Steps are counted through all stages; dotted lines mark where a stage begins.")
    if further and len(subjects) > 1:
        notes.append("Further figures have the colors of the loss chart.")
    stages = [Table(["Run", "Stage", "Steps", "Best validation Dice"], body, words=2)] if body else []
    charts = [chart for chart in (validation, loss) if chart]
    folded = [Folded("Further figures of the training", charts=further)] if further else []
    return Section("training", "Training", above, stages, charts, folded, notes)


def results_section(runs: Mapping[str, Results], which: str) -> Section:
    """Figures of the masks."""
    first = next(iter(runs.values())).evaluation.summary
    patients = "" if first.groups == first.cases else f" of {first.groups} patients"
    above = [f"Cases: {first.cases} {which}{patients}, on each scan's own grid."]
    notes = _together({name: one.notes for name, one in runs.items()})
    notes += [
        "In brackets: 95 % percentile bootstrap intervals of the mean over "
        f"{'cases' if first.groups == first.cases else 'patients'}.",
        first.rule,
    ]
    folded = [Folded("Every case", [tables.case_table(runs)])]
    return Section("results", "Results", above, tables.result_tables(runs), [dice_chart(runs)], folded, notes)


def comparison_section(compared: Compared, reference: str) -> Section:
    """Several runs against the first."""
    found = tables.comparison_tables(compared.lines, compared.unit, reference)
    return Section("comparison", f"Compared with {reference}", tables=found, notes=compared.notes)


def calibration_section(runs: Mapping[str, Results]) -> Section:
    """Do stated probabilities come true."""
    charts, found = calibration_charts(runs), tables.calibration_tables(runs)
    if not found:
        return Section("calibration", "Calibration", [_NO_MAPS])
    above = ["Does what is stated with 80 % come true in 80 % of the voxels? On the dashed line it does."]
    notes = [RULES[0], *RULES[2:]]
    if not any(one.reliability and "Brier" not in "".join(one.reliability.notes[4:]) for one in runs.values()):
        notes.append("Brier score and figures of single classes need maps of probabilities (--probabilities).")
    return Section("calibration", "Calibration", above, found, charts, notes=notes)


def risk_section(runs: Mapping[str, Results]) -> Section:
    """Does uncertainty find the errors."""
    found = tables.detection_tables(runs)
    if not found:
        return Section("risk", "Risk and coverage", [_NO_MAPS])
    structures = tables.structure_table(runs)
    above = ["How much error is left when the most uncertain voxels are set aside?"]
    return Section(
        "risk",
        "Risk and coverage",
        above,
        [*found, *([structures] if structures else [])],
        [risk_chart(runs)],
        notes=[RULES[1]],
    )


def gallery_section(cases: int, wanted: int, slices: int, limit: float) -> Section:
    """What stands above the pictures."""
    if not cases:
        return Section("gallery", "Case gallery", [f"No picture fits into the limit of {limit:g} MB."])
    above = ["From the worst to the best case by mean Dice. The slice with the most wrong voxels is shown first."]
    notes = [
        f"At most {slices} slices of a case, evenly between the first and the last with a mask or a reference, cut to "
        f"the part around them and scaled to {PIXELS} pixels; this file is limited to {limit:g} MB."
    ]
    if cases < wanted:
        notes.append(f"{wanted - cases} of {wanted} cases are left out: they do not fit into the limit.")
    return Section("gallery", "Case gallery", above, notes=notes)


def lead_of(runs: Mapping[str, Results], which: str) -> str:
    """The sentence to remember: mean Dice of each run."""
    first = next(iter(runs.values())).evaluation.summary
    means = []
    for name, one in runs.items():
        found = figure(one.evaluation.summary.overall["dice"])
        means.append(f"{name} {found}" if len(runs) > 1 else found)
    over = " over classes" if len(first.classes) > 1 else ""
    return f"Mean Dice{over}, {first.cases} {which}: {'; '.join(means)}."


def _together(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Notes of runs, each once; those that do not hold for all name the runs."""
    found: dict[str, list[str]] = {}
    for name, told in notes.items():
        for note in told:
            found.setdefault(note, []).append(name)
    return [note if len(names) == len(notes) else f"{', '.join(names)}: {note}" for note, names in found.items()]
