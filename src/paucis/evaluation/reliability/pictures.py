"""The reliability picture: what was stated against what came true, and what is gained by leaving out the unsure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paucis.evaluation.reliability.bins import BINS, Bins, Counts, Ranks
from paucis.evaluation.reliability.cases import EVERY, Sums
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of M. Okabe and K. Ito, *Color Universal Design*, 2008."""

Curve = tuple[Counts, Counts]
"""Shares kept and error rates."""

NAMES = {
    "entropy": "entropy",
    "confidence": "1 - confidence",
    "expected_entropy": "expected entropy",
    "mutual_information": "mutual information",
}
"""What the doubt that each map tells is called."""


def draw_reliability(path: Path, pooled: Mapping[str, Sums], curves: Sequence[Curve], region: str) -> None:
    """Writes a PNG: reliability of the winning class, of each class, and the risk-coverage curves.

    Args:
        path: of the PNG.
        pooled: voxels of all cases, by region.
        curves: risk-coverage curves of single cases, drawn thin beside the pooled one of the first map.
        region: shown in full; the others appear in the first panel as lines.

    Raises:
        PaucisError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    here = pooled[region]
    classes = [name for name in here.bins if name != EVERY]
    columns = 2 + bool(classes)
    figure = Figure(figsize=(4.0 * columns, 4.3), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, columns, height_ratios=(3.2, 1), sharex="col", squeeze=False)
    reliability_axes(grid[:, 0], {name: sums.bins[EVERY] for name, sums in pooled.items()}, "winning class, by region")
    if classes:
        by_class = {name: here.bins[name] for name in classes}
        reliability_axes(grid[:, 1], by_class, f"each class against the rest, {region}")
    for axes in grid[:, -1]:
        axes.remove()
    maps = {NAMES.get(name, name): ranks for name, ranks in here.errors.items()}
    risk_axes(figure.add_subplot(grid[0, -1].get_gridspec()[:, -1]), maps, curves, region)
    write(path, lambda file: figure.savefig(file, dpi=120, format="png"), ELSEWHERE)


def reliability_axes(grid: Any, several: Mapping[str, Bins], title: str) -> None:
    """Draws what was stated against what came true, and below it the share of voxels.

    Args:
        grid: two axes, one above the other.
        several: bins by the name that the legend gives them.
        title: after the word *Reliability*.
    """
    above, below = grid
    above.plot((0, 1), (0, 1), color="0.6", linewidth=0.8, linestyle="--")
    edges = np.linspace(0, 1, BINS + 1)
    for color, (name, bins) in zip(COLORS * 4, several.items(), strict=False):
        some = bins.count > 0
        if not some.any():
            continue
        stated, true = bins.stated[some] / bins.count[some], bins.true[some] / bins.count[some]
        above.plot(stated, true, color=color, marker="o", markersize=3, linewidth=1.2, label=f"{name}: {bins.ece:.3f}")
        share = np.where(some, bins.count / bins.count.sum(), np.nan)
        below.stairs(np.nan_to_num(share), edges, color=color, linewidth=1.0)
    above.set_title(f"Reliability, {title}", fontsize=9)
    above.set_ylabel("share that is true", fontsize=8)
    above.set_ylim(-0.02, 1.02)
    above.legend(fontsize=7, frameon=False, title="ECE, voxels of all cases", title_fontsize=7, loc="upper left")
    below.set_yscale("log")
    below.set_ylim(1e-5, 1.5)
    below.set_xlim(-0.02, 1.02)
    below.set_ylabel("share of voxels", fontsize=8)
    below.set_xlabel("stated probability", fontsize=8)
    for axes in grid:
        _plain(axes)


def risk_axes(axes: Any, several: Mapping[str, Ranks], curves: Sequence[Curve], region: str) -> None:
    """Draws the error rate among the least uncertain voxels against the share of voxels kept.

    Args:
        axes: to draw on.
        several: ranks by the name that the legend gives them.
        curves: of single cases by the first of them, drawn thin; none where there are several sources.
        region: for the title.
    """
    for color, (name, ranks) in zip(COLORS * 2, several.items(), strict=False):
        if ranks.count.sum():
            label = f"{name}: {ranks.aurc:.4f}"
            axes.plot(*ranks.risk_coverage(), color=color, linewidth=1.6, zorder=3, label=label)
    for number, curve in enumerate(curves):
        note = None if number else f"single cases, {next(iter(several), '')}"
        axes.plot(*curve, color="0.75", linewidth=0.6, zorder=1, label=note)
    axes.set_title(f"Risk and coverage, {region}", fontsize=9)
    axes.set_xlabel("share of voxels kept, the least uncertain first", fontsize=8)
    axes.set_ylabel("error rate among them", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False, title="area under the curve", title_fontsize=7, loc="upper left")
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
