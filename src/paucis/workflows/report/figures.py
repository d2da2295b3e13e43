"""Charts of results: Dice of every case, reliability, risk and coverage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paucis.evaluation.reliability.bins import Bins, Ranks
from paucis.evaluation.reliability.cases import EVERY
from paucis.evaluation.reliability.pictures import NAMES, reliability_axes, risk_axes
from paucis.evaluation.summary import mean_dice
from paucis.workflows.reliability import REGION, Reliability
from paucis.workflows.report.charts import LINES, drawing, plain, svg
from paucis.workflows.report.results import Results

_DOTS = 400  # of a column: more look the same


def dice_chart(runs: Mapping[str, Results]) -> str:
    """A dot for each case and the mean with its interval: of each class for one run, of the mean for several."""
    columns: dict[str, tuple[list[float], float, float, float]] = {}
    for name, one in runs.items():
        summary, rows = one.evaluation.summary, one.evaluation.rows
        if len(runs) > 1:
            found = summary.overall["dice"]
            columns[name] = (list(mean_dice(rows).values()), found.mean, found.low, found.high)
            continue
        for label, metrics in summary.classes.items():
            found = metrics["dice"]
            values = [row.scores["dice"] for row in rows if row.name == label]
            columns[label] = (values, found.mean, found.low, found.high)
    with drawing(4.4, 3.0) as figure:
        axes = figure.add_subplot()
        rng = np.random.default_rng(0)
        for place, (values, mean, low, high) in enumerate(columns.values()):
            dots = np.array([value for value in values if not np.isnan(value)])[:_DOTS]
            color = LINES[place % len(LINES)]
            axes.plot(place + rng.uniform(-0.22, 0.22, len(dots)), dots, "o", color=color, markersize=3, alpha=0.5)
            axes.errorbar(
                [place], [mean], [[_length(mean - low)], [_length(high - mean)]], color="#000000", marker="_", capsize=4
            )
        axes.set_xticks(range(len(columns)), list(columns), rotation=30 if len(columns) > 4 else 0)
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.set_ylim(-0.02, 1.02)
        axes.set_title("Dice of every case, mean with 95 % interval")
        plain(axes)
        return svg(figure, "dice", f"Dice of every case: {', '.join(columns)}")


def calibration_charts(runs: Mapping[str, Results]) -> list[str]:
    """Stated probability against what came true: of regions and classes for one run, of each run for several."""
    known = _known(runs)
    if not known:
        return []
    if len(runs) > 1:
        return [_reliability({name: one.pooled[REGION].bins[EVERY] for name, one in known.items()}, "runs", REGION)]
    (one,) = known.values()
    classes = {name: bins for name, bins in one.pooled[REGION].bins.items() if name != EVERY}
    every = {region: sums.bins[EVERY] for region, sums in one.pooled.items()}
    charts = [_reliability(every, "regions", "winning class, by region")]
    return charts + ([_reliability(classes, "classes", f"each class, {REGION}")] if classes else [])


def risk_chart(runs: Mapping[str, Results]) -> str:
    """Error rate against coverage: of each map for one run, of the first map of each run for several."""
    known = _known(runs)
    if not known:
        return ""
    lines: dict[str, Ranks] = {}
    for name, one in known.items():
        errors = one.pooled[REGION].errors
        lines |= {name: next(iter(errors.values()))} if len(runs) > 1 else {NAMES[key]: errors[key] for key in errors}
    curves = [] if len(runs) > 1 else next(iter(known.values())).curves
    with drawing(4.4, 3.4) as figure:
        risk_axes(figure.add_subplot(), lines, curves[:_DOTS], REGION)
        return svg(figure, "risk", f"Error rate against the share of voxels kept: {', '.join(lines)}")


def _reliability(several: Mapping[str, Bins], name: str, title: str) -> str:
    with drawing(4.4, 4.2) as figure:
        reliability_axes(figure.subplots(2, 1, height_ratios=(3.2, 1), sharex=True), several, title)
        return svg(figure, f"reliability-{name}", f"Reliability, {title}: {', '.join(several)}")


def _known(runs: Mapping[str, Results]) -> dict[str, Reliability]:
    return {name: one.reliability for name, one in runs.items() if one.reliability is not None}


def _length(value: float) -> float:
    return 0.0 if np.isnan(value) else max(value, 0.0)
