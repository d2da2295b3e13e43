"""The report of a grid: ``table.md``, ``table.html``, and ``budget.png`` where there are several budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from paucis.engine.files import write
from paucis.evaluation.conventions import STRICT
from paucis.evaluation.tables import TITLES
from paucis.workflows.benchmark.curve import draw_budgets
from paucis.workflows.benchmark.ground import Prepared
from paucis.workflows.benchmark.pages import Page, Part, html, markdown
from paucis.workflows.benchmark.results import Row
from paucis.workflows.benchmark.rounds import START, Rounds
from paucis.workflows.benchmark.suite import Suite
from paucis.workflows.benchmark.tables import Line, Section, over_rounds, sections

PICTURE = "budget.png"


def write_report(out: Path, suite: Suite, runs: Sequence[Prepared], rows: Mapping[str, Row]) -> tuple[Path, ...]:
    """Writes the tables of what is finished; nothing where nothing is.

    Returns:
        The files written.

    Raises:
        PaucisError: they cannot be written.
    """
    found = sections(out, suite, runs, rows)
    if not found:
        return ()
    picture = out / PICTURE if len(found) > 1 and _drawn(out, suite, found) else None
    page = _page(out, suite, runs, rows, found)
    texts = {"table.md": markdown(page, picture), "table.html": html(page, picture)}
    for name, text in texts.items():
        write(out / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return (*(out / name for name in texts), *([picture] if picture else []))


def _drawn(out: Path, suite: Suite, found: Sequence[Section]) -> bool:
    return draw_budgets(out / PICTURE, found, suite.reference, common=suite.rounds is not None)


def _page(out: Path, suite: Suite, runs: Sequence[Prepared], rows: Mapping[str, Row], found: Sequence[Section]) -> Page:
    parts = []
    for section in found:
        title = f"{section.labels} labels: {section.labeled} labeled, {section.unlabeled} unlabeled cases"
        if suite.rounds is not None and section.labels == suite.labels[0]:
            section = _in_common(section)
        parts.append(Part(title, *_overview(suite, section)))
        if any(len(line.classes) > 1 for line in section.lines):
            parts.append(Part("Dice % of each class", *_classes(suite, section)))
    if suite.rounds is not None and (curves := over_rounds(out, suite, runs, rows)) is not None:
        parts.append(Part("Mean of the learning curves, all rounds after the start", *_curves(suite, curves)))
    above = [suite.description, _protocol(runs), *([_added(runs[0], suite.rounds)] if suite.rounds else [])]
    return Page(f"Benchmark {suite.name}", above, parts, _notes(suite, runs, rows, found))


def _in_common(section: Section) -> Section:
    """The first runs, which are the same for all rules, in one line."""
    line = section.lines[0]
    return replace(section, lines=[replace(line, entry=replace(line.entry, name=START), against=None)])


def _added(run: Prepared, rounds: Rounds) -> str:
    alone = ", at most one of a patient" if rounds.one_per_patient else ""
    return (
        f"All rules start from the same labels of a seed. After each training a rule chooses {rounds.add} of the scans "
        f"not labeled yet ({len(run.pool)} at first){alone}, and a network is trained anew with their labels too, "
        f"{rounds.number} times."
    )


def _protocol(runs: Sequence[Prepared]) -> str:
    first = runs[0]
    count, folds = len({run.job.seed for run in runs}), {run.job.fold for run in runs if run.job.fold is not None}
    plan, steps = first.plan, sorted({run.job.config.train.steps for run in runs})
    batch = first.job.config.train.batch_size or plan.batch_size
    unlabeled = first.job.config.train.unlabeled_batch_size or batch
    what = [
        f"{Path(first.job.config.dataset).name}: {_count(len(first.evaluated), f'{first.role} case')} of "
        + _count(first.patients, "patient")
        + (f" in each of {len(folds)} folds" if folds else ""),
        f"{' or '.join(map(str, steps))} steps of {batch} labeled and {unlabeled} unlabeled crops of "
        f"{'x'.join(map(str, plan.patch))}",
        f"network {first.job.config.network}, {_count(count, 'seed')}, {first.weights} weights",
    ]
    return "; ".join(what) + "."


def _overview(suite: Suite, section: Section) -> tuple[list[str], list[list[str]]]:
    published = suite.published is not None
    literature = any(not math.isnan(line.literature) for line in section.lines)
    head = [
        "Method" if suite.rounds is None else "Rule",
        "Runs",
        "Dice % [95 %]",
        f"{TITLES['jaccard']} %",
        f"{TITLES['hd95']} ({section.unit})",
    ]
    head += [f"{TITLES['asd']} ({section.unit})"]
    if suite.reference:
        head += [f"Dice - {suite.reference} [95 %]", "p (Holm)"]
    head += ["s/step (ratio)", "MiB (ratio)"]
    head += (["Dice %, published rules"] if literature else []) + (["Published Dice %"] if published else [])
    best = max((line.dice.value for line in section.lines if line.done), default=math.nan)
    body = []
    for line in section.lines:
        name = f"**{line.entry.name}**" if line.done and line.dice.value == best else line.entry.name
        cells = [name, f"{line.done}/{line.wanted}", _interval(line.dice.value, line.dice.low, line.dice.high)]
        cells += [
            _percent(line.means.get("jaccard", math.nan)),
            *(_plain(line.means.get(m, math.nan)) for m in ("hd95", "asd")),
        ]
        if suite.reference:
            cells += _against(line, suite.reference)
        cells += [_ratio(line.seconds, line.slower, 3), _ratio(line.memory, line.larger, 0)]
        cells += ([_percent(line.literature)] if literature else []) + ([_plain(line.published)] if published else [])
        body.append(cells)
    return head, body


def _curves(suite: Suite, section: Section) -> tuple[list[str], list[list[str]]]:
    head = ["Rule", "Seeds" if not suite.folds else "Seeds x folds", "Dice % [95 %]"]
    if suite.reference:
        head += [f"Dice - {suite.reference}, seed by seed [95 %]", f"Dice - {suite.reference} [95 %]", "p (Holm)"]
    body = []
    for line in section.lines:
        cells = [line.entry.name, f"{line.done}/{line.wanted}"]
        cells.append(_interval(line.dice.value, line.dice.low, line.dice.high))
        if suite.reference:
            seeds = _interval(line.by_seed.value, line.by_seed.low, line.by_seed.high, sign=True)
            cells += ["" if line.entry.name == suite.reference else seeds, *_against(line, suite.reference)]
        body.append(cells)
    return head, body


def _against(line: Line, reference: str) -> list[str]:
    if line.entry.name == reference:
        return ["reference", ""]
    if line.against is None:
        return ["-", "-"]
    one = line.against
    return [_interval(one.difference, one.low, one.high, sign=True), _p(one.adjusted)]


def _classes(suite: Suite, section: Section) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for line in section.lines for name in line.classes))
    body = [
        [line.entry.name, *(_percent(line.classes.get(name, math.nan)) for name in names)]
        for line in section.lines
        if line.done
    ]
    return ["Method" if suite.rounds is None else "Rule", *names], body


def _notes(suite: Suite, runs: Sequence[Prepared], rows: Mapping[str, Row], found: Sequence[Section]) -> list[str]:
    notes = [*suite.notes, *_statistics(suite, found)]
    if suite.published:
        notes.append(f"Published: {suite.published.source}")
    if suite.rounds is not None and suite.reference:
        notes.append(
            f"Seed by seed: each seed's difference to {suite.reference}, which starts from the same labels, with "
            "Student's t over seeds: this interval holds the draw of labels and of weights, which the test does not."
        )
    devices = sorted({rows[run.key]["device"] for run in runs if rows.get(run.key, {}).get("device")})
    notes.append(
        "Time is the median of a training step; memory the largest peak of training above what the process held before "
        f"(on a GPU, of its memory); on {'; '.join(devices)}; in brackets relative to the reference on the same device."
    )
    notes.append(STRICT.rule)
    refused = {run.job.entry.name: "; ".join(run.problems) for run in runs if run.problems}
    notes += [f"Left out: {name}: {reason}" for name, reason in refused.items()]
    failed = [run for run in runs if rows.get(run.key, {}).get("status") == "failed"]
    notes += [f"Failed: {run.job} ({run.key}): {rows[run.key]['error']}" for run in failed]
    once = {run.key: run for run in runs}
    missing = sum(key not in rows and not run.problems for key, run in once.items())
    if missing:
        notes.append(f"{missing} of {len(once)} runs are still to be done: means over fewer seeds are not final.")
    return notes


def _statistics(suite: Suite, found: Sequence[Section]) -> list[str]:
    how = {
        "seeds": "Student's t over seeds (the folds of a seed averaged first)",
        "folds": "Student's t over folds (one seed)",
        "patients": "percentile bootstrap over patients where there is a single run, which says nothing of other seeds",
    }
    used = dict.fromkeys(line.dice.over for section in found for line in section.lines if line.done)
    notes = [f"95 % intervals of Dice: {'; '.join(how[over] for over in used)}."]
    if suite.reference:
        notes.append(
            f"Difference to {suite.reference}: Dice of each patient averaged over the seeds and folds that both have "
            "run, percentile bootstrap over patients, two-sided Wilcoxon signed-rank test, Holm's correction over the "
            "methods of a table. The test speaks for these patients and labels, not for other draws of either."
        )
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _interval(value: float, low: float, high: float, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    shown = [f"{100 * number:+.2f}" if sign else f"{100 * number:.2f}" for number in (value, low, high)]
    return shown[0] if math.isnan(low) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _ratio(value: float, ratio: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" + ("" if math.isnan(ratio) else f" ({ratio:.2f})")


def _percent(value: float) -> str:
    return _plain(100 * value)


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
