"""Pictures of what a refinement changed: the uncertainty before and after it beside the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.evaluation.pictures.sheets import COLORS
from paucis.evaluation.pictures.slices import Panel, Slice, worst_slice
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write

COLUMNS = ("mask and its errors", "uncertainty before", "uncertainty after", "change")

_WIDTH, _LINE = 2.4, 0.3  # of a picture, and of a line of text, in inches


@dataclass(frozen=True)
class Change:
    """One case to show.

    Attributes:
        panel: its title, masks, geometry and image.
        before: uncertainty (Z, Y, X) before the refinement.
        after: and after it.
    """

    panel: Panel
    before: NDArray[Any]
    after: NDArray[Any]


def changed(change: Change) -> tuple[Slice, NDArray[np.float32], NDArray[np.float32]]:
    """The slice with the most errors, as in a sheet, and its uncertainty before and after.

    Raises:
        ValueError: a map is of another size than the masks.
    """
    first, second = (worst_slice(replace(change.panel, uncertainty=each)) for each in (change.before, change.after))
    if first.uncertainty is None or second.uncertainty is None:
        raise ValueError("uncertainty maps of another size than the masks")
    return first, first.uncertainty, second.uncertainty


def draw_changes(path: Path, changes: Sequence[Change]) -> None:
    """Writes a PNG: a row for each case with its errors, the uncertainty before and after, and their difference.

    Both maps of a row share one scale; in the difference blue is less uncertain than before, red is more.

    Args:
        path: of the PNG.
        changes: the cases, from top to bottom.

    Raises:
        PaucisError: the file cannot be written.
        ValueError: there is no case, or a map is of another size than its masks.
    """
    if not changes:
        raise ValueError("a picture of changes needs a case")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [changed(change) for change in changes]
    heights = [_height(one) for one, _, _ in found]
    width, tall = _WIDTH * len(COLUMNS), sum(heights) + _LINE * (len(found) + 1)
    figure = Figure(figsize=(width, tall), facecolor="white")
    FigureCanvasAgg(figure)
    top = tall - _LINE
    for column, name in enumerate(COLUMNS):
        figure.text((column + 0.5) / len(COLUMNS), 1 - 0.4 * _LINE / tall, name, fontsize=8, ha="center", va="center")
    for change, (one, before, after), height in zip(changes, found, heights, strict=True):
        figure.text(0.05 / width, (top - 0.12) / tall, change.panel.title, fontsize=8, weight="bold", va="center")
        top -= height + _LINE
        for column in range(len(COLUMNS)):
            place = (column / len(COLUMNS), top / tall, 0.97 / len(COLUMNS), height / tall)
            axes = figure.add_axes(place)
            axes.set_axis_off()
            _paint(axes, column, one, before, after)
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)


def _height(one: Slice) -> float:
    rows, columns = one.kinds.shape
    return float(min(max(_WIDTH * rows * one.aspect / columns, 0.8), 2 * _WIDTH))


def _paint(axes: Any, column: int, one: Slice, before: NDArray[Any], after: NDArray[Any]) -> None:
    look = {"aspect": one.aspect, "interpolation": "nearest"}
    high = max(float(before.max()), float(after.max())) or 1.0
    if column == 0:
        shown = np.zeros(one.kinds.shape) if one.image is None else one.image
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, **look)
        palette = np.zeros((max(COLORS) + 1, 4))
        for kind, (_, color) in COLORS.items():
            palette[kind] = color
        axes.imshow(palette[one.kinds], **look)
    elif column == len(COLUMNS) - 1:
        axes.imshow(after - before, cmap="RdBu_r", vmin=-high, vmax=high, **look)
    else:
        axes.imshow((before, after)[column - 1], cmap="magma", vmin=0, vmax=high, **look)
