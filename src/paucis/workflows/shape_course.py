"""The course of a shape-guided training: how much is found, and how well the discriminator tells it from the masks."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from paucis.files import write
from paucis.methods.shape_guided import SHAPES

COLUMNS = ("target_share", "shape_share", "told_apart")


@dataclass(frozen=True)
class ShapeCourse:
    """Figures of the stage ``shapes``, one entry per row of ``training.csv``.

    Attributes:
        steps: batches done.
        target: share of the voxels in the field of view that the target channel takes.
        shapes: share that reference masks take.
        told_apart: share of maps and masks that the discriminator takes for what they are.
    """

    steps: list[int]
    target: list[float]
    shapes: list[float]
    told_apart: list[float]

    def last(self) -> tuple[float, float, float]:
        """Means of ``target``, ``shapes`` and ``told_apart`` over the last tenth of the rows."""
        count = max(1, len(self.steps) // 10)
        target, shapes, apart = (sum(values[-count:]) / count for values in (self.target, self.shapes, self.told_apart))
        return target, shapes, apart


def read_course(path: Path) -> ShapeCourse | None:
    """The course in a ``training.csv``; None where that stage has not begun."""
    if not path.is_file():
        return None
    with path.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["stage"] == SHAPES and row.get(COLUMNS[0])]
    if not rows:
        return None
    return ShapeCourse([int(row["step"]) for row in rows], *([float(row[name]) for row in rows] for name in COLUMNS))


def draw_course(path: Path, course: ShapeCourse) -> None:
    """The curves as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    shares, apart = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    shares.plot(course.steps, [100 * value for value in course.target], label="found", color="#c1272d")
    shares.plot(course.steps, [100 * value for value in course.shapes], label="reference masks", color="#0072b2")
    shares.set_ylabel("% of the voxels")
    shares.set_ylim(bottom=0)
    shares.legend(frameon=False)
    apart.plot(course.steps, [100 * value for value in course.told_apart], color="#555555")
    apart.axhline(50, color="#aaaaaa", linewidth=0.6)
    apart.set_ylabel("told apart, %")
    apart.set_ylim(0, 102)
    apart.set_xlabel("step")
    write(path, lambda draft: figure.savefig(draft, format="png", dpi=120))
