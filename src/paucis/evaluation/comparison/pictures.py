"""Sets of masks side by side, and the differences between their figures case by case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paucis.evaluation.comparison.rows import BEST, Aligned
from paucis.evaluation.comparison.tables import MEAN, Line, difference, heading, p_value
from paucis.evaluation.pictures.sheets import explain, height_of, paint
from paucis.evaluation.pictures.slices import Panel, common_slices
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write

_WIDTH, _HEAD, _LINE, _GAP = 2.5, 0.52, 0.34, 0.06  # of a picture, its two lines above, one below, a gap; inches
_DOT, _OURS = "#4c78a8", "#d55e00"


class Compared(NamedTuple):
    """One case as several sets have it: a title, and for each set its name, its figure and its masks."""

    title: str
    columns: list[tuple[str, str, Panel]]


def telling_cases(ours: Mapping[str, float], theirs: Mapping[str, float], more: bool = True) -> list[tuple[str, str]]:
    """The case with the largest loss, the median difference and the largest win, as (what, case); each case once.

    Args:
        ours: figure by case.
        theirs: of the reference.
        more: more is better.
    """
    found = difference(ours, theirs)
    order = sorted(found, key=lambda case: (found[case] * (1 if more else -1), case))
    if len(order) < 3:
        return [("case", case) for case in order]
    chosen = [order[0], order[(len(order) - 1) // 2], order[-1]]
    gains = [found[case] * (1 if more else -1) for case in chosen]
    first = "largest loss" if gains[0] < 0 else "smallest gain"
    last = "largest gain" if gains[2] > 0 else "smallest loss"
    return list(zip((first, "median difference", last), chosen, strict=True))


def draw_side_by_side(path: Path, cases: Sequence[Compared]) -> None:
    """Writes a PNG with a row for each case: its image, then a column for each set, errors in the colors of a sheet.

    All columns show the same slice and part, that with the most errors over all sets.

    Raises:
        PaucisError: the file cannot be written.
        ValueError: there is no case.
    """
    if not cases:
        raise ValueError("nothing to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [common_slices([panel for _, _, panel in case.columns]) for case in cases]
    columns = 1 + len(cases[0].columns)
    heights = [height_of(row[0], _WIDTH) for row in rows]
    width = max((_WIDTH + _GAP) * columns + _GAP, 5.2)
    tall = sum(heights) + _HEAD * len(rows) + 1.2 * _LINE
    figure = Figure(figsize=(width, tall), facecolor="white")
    FigureCanvasAgg(figure)
    top = tall
    for case, row, height in zip(cases, rows, heights, strict=True):
        where = f", slice {row[0].index + 1} of {row[0].count}" if row[0].count > 1 else ""
        figure.text(_GAP / width, (top - 0.1) / tall, case.title + where, fontsize=9, weight="bold", va="top")
        top -= height + _HEAD
        for column in range(columns):
            left = _GAP + column * (_WIDTH + _GAP)
            axes = figure.add_axes((left / width, top / tall, _WIDTH / width, height / tall))
            axes.set_axis_off()
            paint(axes, row[max(column - 1, 0)], "kinds" if column else "image")
            name, shown = case.columns[column - 1][:2] if column else ("image", "")
            figure.text(left / width, (top + height + 0.06) / tall, f"{_short(name)}  {shown}".rstrip(), fontsize=8)
    explain(figure, {int(kind) for row in rows for one in row for kind in np.unique(one.kinds)})
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)


def draw_differences(
    path: Path, aligned: Mapping[str, Aligned], lines: Sequence[Line], sets: Sequence[str], reference: int, unit: str
) -> None:
    """Writes a PNG of paired differences: a panel for each metric, a row for each set, a dot for each case.

    The better side is on the right in every panel. The diamond is the mean over patients with its interval.

    Raises:
        PaucisError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    others = [index for index in range(len(sets)) if index != reference]
    tall = (0.45 * len(others) + 0.95) * len(aligned) + 0.3
    figure = Figure(figsize=(7.5, tall), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(aligned), 1, squeeze=False)[:, 0]
    for axes, (metric, one) in zip(grid, aligned.items(), strict=True):
        theirs = one.per_case(reference)
        for row, index in enumerate(others):
            found = list(difference(one.per_case(index), theirs).values())
            line = next(each for each in lines if (each.metric, each.name) == (metric, sets[index]))
            _strip(axes, row, found, line)
        axes.axvline(0, color="0.4", linewidth=0.8, zorder=0)
        axes.set_ylim(len(others) - 0.4, -0.6)
        axes.set_yticks(range(len(others)), [_short(sets[index]) for index in others], fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        if BEST[metric] == 0:
            axes.invert_xaxis()
        of = f", {MEAN}" if len(one.classes) > 1 else ""
        axes.set_xlabel(f"{heading(metric, unit)}{of}: difference to {_short(sets[reference])}, better →", fontsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    write(path, lambda file: figure.savefig(file, dpi=130, format="png"), ELSEWHERE)


def _strip(axes: Any, row: int, found: Sequence[float], line: Line) -> None:
    """The dots of a set, its mean with interval, and its tally and p at the right edge."""
    spread = np.random.default_rng(0).uniform(-0.16, 0.16, len(found))  # so that equal differences are seen apart
    axes.scatter(found, row + spread, s=14, color=_DOT, alpha=0.6, linewidths=0, zorder=2)
    mean, low, high = line.comparison.difference, line.comparison.low, line.comparison.high
    if not math.isnan(low):
        axes.plot((low, high), (row, row), color=_OURS, linewidth=2, zorder=3)
    axes.plot([mean], [row], marker="D", color=_OURS, markersize=5, zorder=4)
    text = f"{line.tally.wins} / {line.tally.ties} / {line.tally.losses}   p {p_value(line.comparison.adjusted)}"
    axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), fontsize=7.5, va="center")
    if row == 0:
        axes.text(1.01, -0.55, "win / tie / loss, Holm", transform=axes.get_yaxis_transform(), fontsize=7, color="0.4")


def _short(name: str, length: int = 28) -> str:
    return name if len(name) <= length else f"...{name[3 - length :]}"
