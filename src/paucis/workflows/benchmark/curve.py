"""The label-budget curve: Dice against labeled cases, a line for each method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from paucis.engine.files import write
from paucis.workflows.benchmark.tables import Section

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Apart for every kind of color vision: the palette of M. Okabe and K. Ito, *Color Universal Design*, 2008."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")

Points = list[tuple[int, float, float, float]]
"""Labeled cases, Dice in percent, and the ends of its interval."""


def draw_budgets(path: Path, sections: Sequence[Section], reference: str | None, *, common: bool = False) -> bool:
    """Writes the picture as PNG.

    Args:
        path: of the PNG.
        sections: one for each budget.
        reference: method that is drawn in black.
        common: all curves start in the same point.

    Returns:
        Whether there was a method with figures at two budgets to draw.

    Raises:
        PaucisError: the file cannot be written.
    """
    curves = _curves(sections)
    if not any(len(points) > 1 for points in curves.values()):
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9, max(4.5, 0.24 * len(curves) + 1)), layout="constrained")
    axes = figure.add_subplot()
    budgets = sorted({point[0] for points in curves.values() for point in points})
    step = _step(budgets, len(curves))
    for number, (name, points) in enumerate(sorted(curves.items(), key=lambda item: -item[1][-1][1])):
        shift = step ** (number - (len(curves) - 1) / 2)  # side by side, so that no interval hides another
        places = [(x * shift, *rest) for x, *rest in points]
        if common and points[0][0] == budgets[0]:
            owner = reference if reference in curves else next(iter(curves))  # the interval is drawn once
            places[0] = points[0] if name == owner else (*points[0][:2], math.nan, math.nan)
        _draw(axes, name, places, _style(name, list(curves), reference))
    axes.set_xscale("log")
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("labeled cases")
    axes.set_ylabel("Dice %, 95 % interval")
    axes.grid(axis="y", color="#e3e6e8")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    write(path, lambda temporary: FigureCanvasAgg(figure).print_png(str(temporary)))
    return True


def _curves(sections: Sequence[Section]) -> dict[str, Points]:
    curves: dict[str, Points] = {}
    for section in sorted(sections, key=lambda section: section.labeled):
        for line in section.lines:
            if line.done and not math.isnan(line.dice.value):
                figures = [100 * value for value in (line.dice.value, line.dice.low, line.dice.high)]
                curves.setdefault(line.entry.name, []).append((section.labeled, figures[0], figures[1], figures[2]))
    return curves


def _step(budgets: Sequence[int], curves: int) -> float:
    """Factor from method to method along the logarithmic axis: all within a quarter of the way between budgets."""
    nearest = min(math.log(high / low) for low, high in pairwise(budgets))
    return math.exp(nearest / 4 / max(curves, 1))


def _style(name: str, names: Sequence[str], reference: str | None) -> dict[str, object]:
    if name == reference:
        return {"color": "black", "marker": "o", "linestyle": "--", "linewidth": 2.2, "zorder": 3}
    number = [other for other in names if other != reference].index(name)
    return {"color": COLORS[number % len(COLORS)], "marker": MARKS[number % len(MARKS)], "linewidth": 1.3}


def _draw(axes: object, name: str, points: Sequence[tuple[float, ...]], style: dict[str, object]) -> None:
    x, value, low, high = (list(column) for column in zip(*points, strict=True))
    ends = [
        [0.0 if math.isnan(end) else abs(middle - end) for middle, end in zip(value, side, strict=True)]
        for side in (low, high)
    ]
    axes.errorbar(x, value, yerr=ends, label=name, markersize=5, capsize=2, elinewidth=0.8, **style)  # type: ignore[attr-defined]
