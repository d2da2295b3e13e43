"""The tables of a report: figures with intervals, of one run by class or of several side by side, and every case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paucis.evaluation.comparison.tables import Line, cells, heading
from paucis.evaluation.conventions import STATES
from paucis.evaluation.reliability.cases import EVERY
from paucis.evaluation.reliability.tables import errors_of, figure_text, table_of
from paucis.evaluation.summary import Summary, mean_dice
from paucis.evaluation.tables import figure, number, title
from paucis.workflows.report.results import Results

METRICS = ("dice", "jaccard", "surface_dice", "hd95", "asd")
LISTED = 400
"""Cases in the table of all cases."""

_REGION = "box"


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        head: of its columns.
        body: its lines.
        caption: above it; may be empty.
        words: columns from the left that hold words, not figures.
    """

    head: list[str]
    body: list[list[str]]
    caption: str = ""
    words: int = 1


def result_tables(runs: Mapping[str, Results]) -> list[Table]:
    """Of one run, a line for each class; of several, a line for each run over classes, then Dice of each class."""
    summaries = {name: one.evaluation.summary for name, one in runs.items()}
    first = next(iter(summaries.values()))
    head = [title(metric, first) for metric in METRICS]
    if len(summaries) == 1:
        return [Table(["Class", *head], _classes(first)), _states(first)]
    over = [[name, *_means(summary)] for name, summary in summaries.items()]
    caption = "Mean over classes" if len(first.classes) > 1 else next(iter(first.classes))
    tables = [Table(["Run", *head], over, caption)]
    if len(first.classes) > 1:
        body = [
            [name, *(figure(summary.classes[label]["dice"]) for label in first.classes)]
            for name, summary in summaries.items()
        ]
        tables.append(Table(["Run", *first.classes], body, "Dice of each class"))
    return tables


def comparison_tables(lines: Sequence[Line], unit: str, reference: str) -> list[Table]:
    """For each metric, every run against the reference."""
    head = ["Class", "Run", "n", "Mean", reference, "Difference", "p", "p (Holm)", "Wins / ties / losses"]
    return [
        Table(head, [cells(line) for line in lines if line.metric == metric], heading(metric, unit), 2)
        for metric in dict.fromkeys(line.metric for line in lines)
    ]


def case_table(runs: Mapping[str, Results]) -> Table:
    """Dice of every case, the lowest mean first: of each class for one run, of the mean for several."""
    scores = {name: mean_dice(one.evaluation.rows) for name, one in runs.items()}
    first, rows = next(iter(scores)), next(iter(runs.values())).evaluation.rows
    every = dict.fromkeys(row.case for one in runs.values() for row in one.evaluation.rows)
    order = sorted(every, key=lambda case: (scores[first].get(case, math.inf), case))[:LISTED]
    rest = f"; the {LISTED} lowest of {len(every)}" if len(every) > LISTED else ""
    if len(runs) > 1:
        body = [[case, *(number(one.get(case, math.nan)) for one in scores.values())] for case in order]
        return Table(["Case", *runs], body, f"Mean Dice of every case{rest}")
    found = {(row.case, row.name): row.scores["dice"] for row in rows}
    classes = list(dict.fromkeys(row.name for row in rows))
    head = ["Case", *(["Mean"] if len(classes) > 1 else []), *classes]
    body = []
    for case in order:
        mean = [number(scores[first].get(case, math.nan))] if len(classes) > 1 else []
        body.append([case, *mean, *(number(found.get((case, name), math.nan)) for name in classes)])
    return Table(head, body, f"Dice of every case{rest}")


def calibration_tables(runs: Mapping[str, Results]) -> list[Table]:
    """Of one run, every region and class; of several, a line for each run in the box around both masks."""
    known = {name: one.reliability for name, one in runs.items() if one.reliability is not None}
    if len(runs) == 1:
        return [Table(*table_of(one.summary), words=2) for one in known.values()]
    names = ("error_rate", "ece", "ace", "brier")
    body = [
        [name, *(figure_text(one.summary[_REGION][EVERY].get(key)) for key in names)] for name, one in known.items()
    ]
    return [Table(["Run", "Error rate", "ECE", "ACE", "Brier"], body, f"All classes, {_REGION}")] if body else []


def detection_tables(runs: Mapping[str, Results]) -> list[Table]:
    """How well uncertainty finds errors: of one run, every region and map; of several, a line for each run and map."""
    known = {name: one.reliability for name, one in runs.items() if one.reliability is not None}
    if len(runs) == 1:
        return [Table(*errors_of(one.summary), words=2) for one in known.values()]
    body = []
    for name, one in known.items():
        head, lines = errors_of({_REGION: one.summary[_REGION]})
        body += [[name, *line[1:]] for line in lines]
    return [Table(["Run", *head[1:]], body, f"All classes, {_REGION}", 2)] if body else []


def structure_table(runs: Mapping[str, Results]) -> Table | None:
    """How far the scores and volume intervals of ``cases.csv`` hold; None where nobody says."""
    head = ["Structure", "n", "Volume in interval", "Score ~ Dice", "1 - Dice", "AURC", "AURC least"]
    keys = ("inside", "spearman", "risk", "aurc", "aurc_least")
    body = []
    for name, one in runs.items():
        for label, found in one.reliability.structures.items() if one.reliability else ():
            figures = ["-" if found[key] is None else number(found[key]) for key in keys]
            body.append([*([name] if len(runs) > 1 else []), label, str(found["structures"]), *figures])
    several = ["Run"] if len(runs) > 1 else []
    return (
        Table([*several, *head], body, "Scores and volume intervals of structures", 1 + len(several)) if body else None
    )


def _classes(summary: Summary) -> list[list[str]]:
    body = [[name, *(figure(found[metric]) for metric in METRICS)] for name, found in summary.classes.items()]
    return body + ([["Mean", *_means(summary)]] if len(summary.classes) > 1 else [])


def _states(summary: Summary) -> Table:
    body = [[name, *(str(states[key]) for key in STATES)] for name, states in summary.states.items()]
    return Table(["Class", *map(str.capitalize, STATES)], body, "Cases in which a class was")


def _means(summary: Summary) -> list[str]:
    return [figure(summary.overall[metric]) for metric in METRICS]
