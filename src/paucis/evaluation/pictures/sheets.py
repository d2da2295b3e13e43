"""Picture sheets: a few cases with their image, what is right, wrong and missed in colors, and the uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paucis.evaluation.pictures.slices import CONFUSED, EXTRA, MISSED, RIGHT, UNKNOWN, Panel, Slice, worst_slice
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write

PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
"""Colors of classes and of landmarks, by their place."""
COLORS = {
    RIGHT: ("true positive", (0.34, 0.71, 0.91, 0.45)),
    EXTRA: ("false positive", (0.94, 0.89, 0.26, 0.85)),
    MISSED: ("false negative", (0.84, 0.37, 0.00, 0.85)),
    CONFUSED: ("wrong class", (0.80, 0.47, 0.65, 0.90)),
    UNKNOWN: ("not counted", (0.5, 0.5, 0.5, 0.35)),
}
"""Name, color and opacity. The colors are apart for every kind of color vision: the palette of M. Okabe and K. Ito,
*Color Universal Design*, 2008."""

_WIDTH, _LINE, _GAP = 3.2, 0.34, 0.06  # of a picture, a line of text, and between pictures, in inches


def choose(scores: dict[str, float]) -> list[tuple[str, str]]:
    """The worst, the median and the best case, as (``worst``, case name); each case once.

    Args:
        scores: mean Dice of each case.
    """
    order = sorted(scores, key=lambda case: (scores[case], case))
    if len(order) < 3:
        return list(zip(("worst", "best"), order, strict=False)) if len(order) > 1 else [("only", one) for one in order]
    return [("worst", order[0]), ("median", order[(len(order) - 1) // 2]), ("best", order[-1])]


def draw(path: Path, panels: Sequence[Panel]) -> None:
    """Write a sheet as PNG: a row for each case with its image, the errors, and the uncertainty where there is one.

    Args:
        path: of the PNG.
        panels: the cases, from top to bottom; images and maps may be missing.

    Raises:
        PaucisError: the file cannot be written.
        ValueError: there is no panel.
    """
    if not panels:
        raise ValueError("a sheet needs a case")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    slices = [worst_slice(panel) for panel in panels]
    columns = [
        name for name in ("image", "kinds", "uncertainty") if any(getattr(one, name) is not None for one in slices)
    ]
    heights = [height_of(one) for one in slices]
    width, tall = (_WIDTH + _GAP) * len(columns) + _GAP, sum(heights) + _LINE * (len(slices) + 1.4)
    width = max(width, 5.2)  # the legend needs as much
    figure = Figure(figsize=(width, tall), facecolor="white")
    FigureCanvasAgg(figure)
    high = max((float(one.uncertainty.max()) for one in slices if one.uncertainty is not None), default=0.0) or 1.0
    top = tall
    for panel, one, height in zip(panels, slices, heights, strict=True):
        where = f", slice {one.index + 1} of {one.count}" if one.count > 1 else ""
        figure.text(_GAP / width, (top - 0.1) / tall, panel.title + where, fontsize=9, weight="bold", va="top")
        top -= height + _LINE
        for column, name in enumerate(columns):
            left = _GAP + column * (_WIDTH + _GAP)
            axes = figure.add_axes((left / width, top / tall, _WIDTH / width, height / tall))
            axes.set_axis_off()
            paint(axes, one, name, high)
    _legend(figure, columns, {int(kind) for one in slices for kind in np.unique(one.kinds)}, high)
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)


def height_of(one: Slice, width: float = _WIDTH) -> float:
    """Inches of a picture that is ``width`` inches wide."""
    rows, columns = one.kinds.shape
    return float(min(max(width * rows * one.aspect / columns, 1.0), 2 * width))


def paint(axes: Any, one: Slice, name: str, high: float = 1.0) -> None:
    """Shows the ``image``, the ``kinds`` of pixels over it, or the ``uncertainty`` up to ``high``."""
    look = {"aspect": one.aspect, "interpolation": "nearest"}
    if name == "uncertainty":
        if one.uncertainty is not None:
            axes.imshow(one.uncertainty, cmap="magma", vmin=0, vmax=high, **look)
        return
    if one.image is not None:
        axes.imshow(one.image, cmap="gray", vmin=0, vmax=1, **look)
    elif name == "kinds":
        axes.imshow(np.zeros(one.kinds.shape), cmap="gray", vmin=0, vmax=1, **look)
    if name == "kinds":
        palette = np.zeros((max(COLORS) + 1, 4))
        for kind, (_, color) in COLORS.items():
            palette[kind] = color
        axes.imshow(palette[one.kinds], **look)


def _legend(figure: Any, columns: list[str], kinds: set[int], high: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width, tall = figure.get_size_inches()
    explain(figure, kinds)
    if "uncertainty" in columns:
        left = _GAP + (len(columns) - 1) * (_WIDTH + _GAP)
        bar = figure.add_axes(((left + 1.3) / width, 0.24 / tall, (_WIDTH - 1.6) / width, 0.1 / tall))
        figure.colorbar(ScalarMappable(Normalize(0, high), "magma"), cax=bar, orientation="horizontal")
        bar.tick_params(labelsize=7, length=2, pad=1)
        figure.text((left + 0.1) / width, 0.24 / tall, "uncertainty", fontsize=8, va="center")


def explain(figure: Any, kinds: set[int]) -> None:
    """The legend of the colors, at the bottom left."""
    from matplotlib.patches import Patch

    shown = [kind for kind in COLORS if kind in kinds or kind in (RIGHT, EXTRA, MISSED)]
    patches = [Patch(color=COLORS[kind][1][:3], label=COLORS[kind][0]) for kind in shown]
    look = {"fontsize": 8, "frameon": False, "handlelength": 1.0, "columnspacing": 1.2}
    corner = (0, 0.06 / figure.get_size_inches()[1])
    figure.legend(handles=patches, loc="lower left", bbox_to_anchor=corner, ncols=len(patches), **look)
