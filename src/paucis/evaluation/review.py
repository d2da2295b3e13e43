"""Which cases deserve a second look: ranked by what the prediction says of itself, with pictures of its doubts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry
from paucis.data.grid import orient, trace_of
from paucis.errors import PaucisError
from paucis.evaluation.pictures.sheets import PALETTE
from paucis.evaluation.pictures.slices import part_of, picture_of, rows_point_up
from paucis.evaluation.reliability.structures import Structure
from paucis.evaluation.tables import ELSEWHERE, number
from paucis.files import write, write_text
from paucis.registry import nearest

RULES = {
    "score": "the Dice that the probabilities promise of the worst structure, lowest first",
    "confidence": "the mean confidence within the least sure structure, lowest first",
    "entropy": "the mean entropy within the most uncertain structure, highest first",
    "interval": "the width of a structure's volume interval over its upper end, widest first",
}
"""What cases can be ranked by."""

_WIDTH, _LINE, _GAP = 3.2, 0.36, 0.06  # of a picture, a line of text, and between pictures, in inches


class Ranked(NamedTuple):
    """A case in the order of review: its place from 1, its figure, and the structure that gave it."""

    rank: int
    figure: float
    structure: Structure


class Doubt(NamedTuple):
    """A case to show: title, class indices, image or None, uncertainty or None, geometry."""

    title: str
    mask: NDArray[np.integer]
    image: NDArray[Any] | None
    uncertainty: NDArray[Any] | None
    geometry: Geometry


class Look(NamedTuple):
    """The slice of a case that is shown: title, and (Y, X) of mask, image and uncertainty, with a pixel's aspect."""

    title: str
    mask: NDArray[np.integer]
    image: NDArray[Any] | None
    uncertainty: NDArray[Any] | None
    aspect: float


def rank(structures: Sequence[Structure], by: str) -> list[Ranked]:
    """Every case once, the one to look at first on top; cases without a figure come last.

    Raises:
        PaucisError: there is no such rule.
    """
    if by not in RULES:
        raise PaucisError(f"--by {by}: must be one of {', '.join(RULES)}{nearest(by, list(RULES))}")
    worst: dict[str, tuple[float, Structure]] = {}
    for one in structures:
        doubt = _doubt(one, by)
        if one.case not in worst or _key(doubt) < _key(worst[one.case][0]):
            worst[one.case] = doubt, one
    order = sorted(worst, key=lambda case: (_key(worst[case][0]), case))
    return [Ranked(place, _figure(worst[case][1], by), worst[case][1]) for place, case in enumerate(order, 1)]


def write_review(path: Path, ranked: Sequence[Ranked], by: str) -> None:
    """Writes the order as CSV: a line for each case.

    Raises:
        PaucisError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    names = list(ranked[0].structure.figures)
    columns = [f"{name}_{ranked[0].structure.unit}" if name.startswith("volume") else name for name in names]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "case", "structure", "ranked_by", "figure", *columns])
    for place, figure, one in ranked:
        shown = ["" if math.isnan(value) else f"{value:.6g}" for value in (figure, *one.figures.values())]
        writer.writerow([place, one.case, one.name, by, *shown])
    write_text(path, text.getvalue(), ELSEWHERE)


def title_of(one: Ranked, by: str) -> str:
    """What stands above a case's pictures."""
    figures, unit = one.structure.figures, "mL" if one.structure.unit == "ml" else "pixels"
    low, high = number(figures["volume_low"]), number(figures["volume_high"])
    volume = f"{number(figures['volume'])} [{low}, {high}] {unit}"
    return f"{one.rank}. {one.structure.case}: {one.structure.name}, {by} {number(one.figure)}, {volume}"


def draw_review(path: Path, doubts: Sequence[Doubt], classes: Sequence[str]) -> None:
    """Writes a PNG with a row for each case: image, outlines of the classes, uncertainty, at its most uncertain slice.

    Raises:
        PaucisError: the file cannot be written.
        ValueError: there is no case.
    """
    draw_looks(path, [look_at(doubt) for doubt in doubts], classes)


def draw_looks(path: Path, looks: Sequence[Look], classes: Sequence[str], high: float = 1.0) -> None:
    """As ``draw_review``, of slices that are chosen already; ``high`` is the uncertainty that is drawn brightest.

    Raises:
        PaucisError: the file cannot be written.
        ValueError: there is no case.
    """
    if not looks:
        raise ValueError("nothing to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [
        float(np.clip(_WIDTH * one.mask.shape[0] * one.aspect / one.mask.shape[1], 1.0, 2 * _WIDTH)) for one in looks
    ]
    columns = 2 + any(one.uncertainty is not None for one in looks)
    width, tall = (_WIDTH + _GAP) * columns + _GAP, sum(heights) + _LINE * (len(looks) + 1)
    figure = Figure(figsize=(width, tall), facecolor="white")
    FigureCanvasAgg(figure)
    top = tall
    for one, height in zip(looks, heights, strict=True):
        figure.text(_GAP / width, (top - 0.12) / tall, one.title, fontsize=8, weight="bold", va="top")
        top -= height + _LINE
        for column in range(columns):
            left = _GAP + column * (_WIDTH + _GAP)
            axes = figure.add_axes((left / width, top / tall, _WIDTH / width, height / tall))
            axes.set_axis_off()
            look: dict[str, Any] = {"aspect": one.aspect, "interpolation": "nearest"}
            if column == 2 and one.uncertainty is not None:
                axes.imshow(one.uncertainty, cmap="magma", vmin=0, vmax=high, **look)
            elif column < 2:
                shown = np.zeros(one.mask.shape) if one.image is None else one.image
                axes.imshow(shown, cmap="gray", vmin=0, vmax=1, **look)
            if column == 1:
                _outline(axes, one.mask)
    _legend(figure, classes, f"uncertainty, 0 to {high:.2g}" if columns == 3 else "")
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)


def look_at(doubt: Doubt) -> Look:
    """The slice with the most uncertainty, cut to what is predicted or unsure; its number stands in the title."""
    shape = doubt.mask.shape
    turn = trace_of(doubt.geometry, shape, slice_axis=0)
    spacing = [doubt.geometry.spacing[axis] for axis in turn.axes] if doubt.geometry.physical else [1.0] * 3
    aspect, upside = spacing[1] / spacing[2], rows_point_up(turn)
    mask = orient(doubt.mask, turn)
    doubts = None
    if doubt.uncertainty is not None and doubt.uncertainty.shape == shape:
        doubts = np.nan_to_num(orient(doubt.uncertainty, turn))
    weight = (mask > 0).sum(axis=(1, 2)) if doubts is None or not doubts.any() else doubts.sum(axis=(1, 2))
    chosen = int(np.argmax(weight))
    flat, unsure = mask[chosen][::upside], None if doubts is None else doubts[chosen][::upside]
    seen = (flat > 0) if unsure is None else (flat > 0) | (unsure > 0.5)
    part = part_of([seen.astype(np.uint8)], aspect)
    image = None
    if doubt.image is not None and doubt.image.shape[-3:] == shape:
        image = picture_of(orient(doubt.image, turn)[:, chosen, ::upside][:, part[0], part[1]])
    index = len(mask) - 1 - chosen if 0 in turn.flips else chosen
    where = f", slice {index + 1} of {len(mask)}" if len(mask) > 1 else ""
    return Look(f"{doubt.title}{where}", flat[part], image, None if unsure is None else unsure[part], aspect)


def _doubt(one: Structure, by: str) -> float:
    """The figure turned so that more is more doubtful; NaN where there is none."""
    figure = _figure(one, by)
    return -figure if by in ("score", "confidence") else figure


def _figure(one: Structure, by: str) -> float:
    if by == "interval":
        low, high = one.figures["volume_low"], one.figures["volume_high"]
        return (high - low) / high if high else math.nan
    return one.figures[{"score": "score", "confidence": "mean_confidence", "entropy": "mean_entropy"}[by]]


def _key(doubt: float) -> float:
    return math.inf if math.isnan(doubt) else -doubt


def _outline(axes: Any, mask: NDArray[np.integer]) -> None:
    for label in np.unique(mask[mask > 0]):
        color = PALETTE[(int(label) - 1) % len(PALETTE)]
        inside = np.pad(mask == label, 1).astype(float)
        rows, columns = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
        axes.contour(columns, rows, inside, levels=[0.5], colors=[color], linewidths=1.2)
    axes.set_xlim(-0.5, mask.shape[1] - 0.5)
    axes.set_ylim(mask.shape[0] - 0.5, -0.5)


def _legend(figure: Any, classes: Sequence[str], note: str) -> None:
    from matplotlib.lines import Line2D

    width, tall = figure.get_size_inches()
    lines = [Line2D([], [], color=PALETTE[index % len(PALETTE)], label=name) for index, name in enumerate(classes[1:])]
    look = {"fontsize": 8, "frameon": False, "handlelength": 1.2, "columnspacing": 1.2}
    figure.legend(handles=lines, loc="lower left", bbox_to_anchor=(0, 0.04 / tall), ncols=max(len(lines), 1), **look)
    if note:
        figure.text(1 - 0.1 / width, 0.12 / tall, note, fontsize=8, ha="right")
