"""Contact sheets: every image with the points that were found in it, and the true ones where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Volume
from paucis.data.grid import Point, orient, planned_point, trace_of
from paucis.evaluation.pictures.sheets import PALETTE
from paucis.evaluation.pictures.slices import picture_of, rows_point_up
from paucis.evaluation.tables import ELSEWHERE, number
from paucis.files import write

PER_SHEET = 60
_COLUMNS, _WIDTH, _LINE, _GAP, _SIDE = 6, 1.9, 0.3, 0.05, 320  # of a sheet; inches; pixels of a tile at most
_NOTED = 6  # confidences above a tile


class Mark(NamedTuple):
    """A point in a tile: (y, x) in its pixels; number of its landmark; whether it is the true one."""

    place: tuple[float, float]
    landmark: int
    true: bool


class Tile(NamedTuple):
    """A small picture: two lines above, gray (Y, X) or color (Y, X, 3) in [0, 1], a pixel's aspect, points."""

    title: str
    note: str
    image: NDArray[np.float32]
    aspect: float
    marks: tuple[Mark, ...]


def tiles_of(
    title: str,
    volume: Volume,
    found: Mapping[str, Point],
    true: Mapping[str, Point],
    landmarks: Sequence[str],
    sure: Mapping[str, float],
) -> list[Tile]:
    """Tiles of a scan: one of a picture; of a volume, for each landmark the slice through its point.

    A volume's slices run along its coarsest axis and stand upright; a true point of another slice is shown in this
    one, and the slice told.

    Args:
        title: what stands above.
        volume: as stored.
        found: (Z, Y, X) of each landmark, in voxels as stored.
        true: likewise; of landmarks that may be absent.
        landmarks: all of them, which gives each its color.
        sure: confidence of each, or nothing.
    """
    turn = trace_of(volume.geometry, volume.array.shape[1:], slice_axis=0)
    turned, upside = orient(np.asarray(volume.array), turn), rows_point_up(turn)
    spacing = [volume.geometry.spacing[axis] for axis in turn.axes] if volume.geometry.physical else [1.0] * 3
    count = turned.shape[1]
    tiles = []
    groups = [list(found)] if count == 1 else [[name] for name in found]
    for names in groups:
        slice_: int = min(max(round(planned_point(found[names[0]], turn)[0]), 0), count - 1)
        step = max(1, ceil(max(turned.shape[2:]) / _SIDE))
        image = picture_of(turned[:, slice_, ::upside][:, ::step, ::step])
        assert image is not None
        marks, notes = [], ["/".join(number(sure[name]) for name in names[:_NOTED] if name in sure)]
        for places, is_true in ((true, True), (found, False)):
            for name in (one for one in names if one in places):
                z, y, x = planned_point(places[name], turn)
                row = y if upside == 1 else turned.shape[2] - 1 - y
                marks.append(Mark((row / step, x / step), landmarks.index(name), is_true))
                if count > 1:
                    index = count - 1 - round(z) if 0 in turn.flips else round(z)
                    notes.append(f"true {index + 1}" if is_true else f"{name}, slice {index + 1} of {count}")
        note = ", ".join(part for part in reversed(notes) if part)
        tiles.append(Tile(title, note, image, spacing[1] / spacing[2], tuple(marks)))
    return tiles


class Sheets:
    """Writes sheets of at most 60 tiles as PNG: ``path``, then ``NAME_2.png`` and so on, each when it is full.

    Args:
        path: of the first.
        landmarks: names, for the legend.
        known: whether true points are shown, which the legend then explains.
    """

    def __init__(self, path: Path, landmarks: Sequence[str], known: bool) -> None:
        self.path = path
        self.landmarks = landmarks
        self.known = known
        self.written: list[Path] = []
        self.tiles: list[Tile] = []

    def add(self, tiles: Sequence[Tile]) -> None:
        """Takes the tiles of a scan.

        Raises:
            PaucisError: a file cannot be written.
        """
        for tile in tiles:
            self.tiles.append(tile)
            if len(self.tiles) == PER_SHEET:
                self.finish()

    def finish(self) -> None:
        """Writes what no sheet shows yet; raises as ``add``."""
        if self.tiles:
            count = len(self.written) + 1
            name = self.path.name if count == 1 else f"{self.path.stem}_{count}{self.path.suffix}"
            _draw(self.path.with_name(name), self.tiles, self.landmarks, self.known)
            self.written.append(self.path.with_name(name))
            self.tiles = []


def _draw(path: Path, tiles: Sequence[Tile], landmarks: Sequence[str], known: bool) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(len(tiles), 2))
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    heights = [max(_height(tile) for tile in row) for row in rows]
    width, tall = (
        columns * (_WIDTH + _GAP) + _GAP,
        sum(heights) + (_LINE + _GAP) * len(rows) + _LINE * (1 + ceil((len(landmarks) + known) / _COLUMNS)),
    )
    figure = Figure(figsize=(width, tall), facecolor="white")
    FigureCanvasAgg(figure)
    top = tall
    for row, height in zip(rows, heights, strict=True):
        top -= _LINE
        for column, tile in enumerate(row):
            left, own = _GAP + column * (_WIDTH + _GAP), _height(tile)
            words = f"{_short(tile.title)}\n{_short(tile.note)}"
            figure.text(left / width, (top + 0.03) / tall, words, fontsize=6, linespacing=1.1)
            axes = figure.add_axes((left / width, (top - own) / tall, _WIDTH / width, own / tall))
            axes.set_axis_off()
            axes.imshow(tile.image, cmap="gray", vmin=0, vmax=1, aspect=tile.aspect, interpolation="nearest")
            for mark in tile.marks:
                _show(axes, mark)
        top -= height + _GAP
    _legend(figure, landmarks, known)
    write(path, lambda file: figure.savefig(file, dpi=120, format="png"), ELSEWHERE)


def _height(tile: Tile) -> float:
    rows, columns = tile.image.shape[:2]
    return float(np.clip(_WIDTH * rows * tile.aspect / columns, 0.5 * _WIDTH, 2 * _WIDTH))


def _short(title: str, most: int = 44) -> str:
    return title if len(title) <= most else f"{title[: most - 3]}..."


def _show(axes: Any, mark: Mark) -> None:
    color, (y, x) = PALETTE[mark.landmark % len(PALETTE)], mark.place
    if mark.true:
        axes.plot(x, y, marker="o", markersize=7, markerfacecolor="none", markeredgewidth=1.2, color=color)
    else:
        axes.plot(x, y, marker="+", markersize=7, markeredgewidth=1.5, color=color)


def _legend(figure: Any, landmarks: Sequence[str], known: bool) -> None:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"linestyle": "none", "markersize": 7, "markeredgewidth": 1.5}
    lines = [
        Line2D([], [], marker="+", color=PALETTE[place % len(PALETTE)], label=name, **look)
        for place, name in enumerate(landmarks)
    ]
    if known:
        lines.append(Line2D([], [], marker="o", markerfacecolor="none", color="0.3", label="true", **look))
    tall = figure.get_size_inches()[1]
    shown = {"fontsize": 8, "frameon": False, "handlelength": 1.0, "columnspacing": 1.2}
    figure.legend(
        handles=lines, loc="lower left", bbox_to_anchor=(0, 0.02 / tall), ncols=min(len(lines), _COLUMNS), **shown
    )
