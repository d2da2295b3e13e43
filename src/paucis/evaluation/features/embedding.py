"""Pixel features in two dimensions: t-SNE, and pictures of it by class, correctness and uncertainty."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.errors import PaucisError
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write, write_text

COLORS = ("#BBBBBB", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9", "#E69F00")
"""Of the classes, the background first: the palette of M. Okabe and K. Ito, *Color Universal Design*, 2008."""
MARKS = ("o", "^", "s", "D")  # beyond as many classes as there are colors
RIGHT, WRONG = "#56B4E9", "#D55E00"
FEWEST = 8
"""Points below which there is nothing to see."""

_SIDE = 4.2  # of a picture, in inches


@dataclass(frozen=True)
class Points:
    """Voxels with what is known of each; N of them.

    Attributes:
        cases: case name of each.
        voxels: (N, 3) place along (Z, Y, X) of the planned grid.
        labels: (N,) class index: of the reference, or predicted where there is none.
        predicted: (N,) predicted class index.
        uncertainty: (N,) entropy of the prediction, as a share of the largest possible.
        features: (N, D).
        classes: names of the classes, the background first.
        referenced: whether ``labels`` are those of a reference.
    """

    cases: tuple[str, ...]
    voxels: NDArray[np.integer]
    labels: NDArray[np.integer]
    predicted: NDArray[np.integer]
    uncertainty: NDArray[np.floating]
    features: NDArray[np.float32]
    classes: tuple[str, ...]
    referenced: bool


def project(features: NDArray[np.float32], *, seed: int = 0, perplexity: float = 30.0) -> NDArray[np.float64]:
    """Features in two dimensions by t-SNE, from the first two principal components on.

    Args:
        features: (N, D).
        seed: of the projection.
        perplexity: about how many neighbors count; lowered to a third of N where there are few.

    Returns:
        (N, 2).

    Raises:
        PaucisError: fewer points than ``FEWEST``, or features that are not finite.

    Reference:
        L. van der Maaten, G. Hinton: Visualizing data using t-SNE. JMLR 2008; scikit-learn's implementation.
    """
    if len(features) < FEWEST:
        raise PaucisError(f"only {len(features)} pixels were found to embed: give more images or a larger --per-class")
    if not np.isfinite(features).all():
        raise PaucisError("the run's features are not finite: its training has diverged")
    from sklearn.manifold import TSNE

    near = min(perplexity, (len(features) - 1) / 3)
    start = _principal(features)
    placed: NDArray[np.float64] = TSNE(2, perplexity=near, init=start, random_state=seed).fit_transform(features)
    return placed


def write_points(path: Path, points: Points, placed: NDArray[np.floating]) -> None:
    """The points as CSV: a row for each, with its place in the scan's planned grid and in the picture.

    Raises:
        PaucisError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "z", "y", "x", "class", "predicted", "correct", "uncertainty", "tsne_1", "tsne_2"])
    for number, (case, voxel) in enumerate(zip(points.cases, points.voxels.tolist(), strict=True)):
        label, predicted = int(points.labels[number]), int(points.predicted[number])
        correct = int(label == predicted) if points.referenced else ""
        numbers = (points.uncertainty[number], *placed[number])
        names = (points.classes[label], points.classes[predicted])
        writer.writerow([case, *voxel, *names, correct, *(f"{float(value):.6g}" for value in numbers)])
    write_text(path, text.getvalue(), ELSEWHERE)


def draw(path: Path, points: Points, placed: NDArray[np.floating], title: str = "") -> None:
    """The points as PNG, side by side in the colors of their class, their correctness and their uncertainty.

    Raises:
        PaucisError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [_by_class, *([_by_correctness] if points.referenced else []), _by_uncertainty]
    figure = Figure(figsize=(_SIDE * len(panels), _SIDE + 1.1), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number, anchor="S")
        axes.set(xticks=[], yticks=[])
        axes.set_box_aspect(1)
        panel(figure, axes, points, placed)
    if title:
        figure.suptitle(title, fontsize=10)
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)


def _by_class(figure: Any, axes: Any, points: Points, placed: NDArray[np.floating]) -> None:
    for label, name in enumerate(points.classes):
        look = {"color": COLORS[label % len(COLORS)], "marker": MARKS[label // len(COLORS) % len(MARKS)]}
        _scatter(axes, placed[points.labels == label], label=name, **look)
    axes.set_title("class" if points.referenced else "predicted class", fontsize=9)
    _legend(axes, len(points.classes))


def _by_correctness(figure: Any, axes: Any, points: Points, placed: NDArray[np.floating]) -> None:
    right = points.labels == points.predicted
    _scatter(axes, placed[right], color=RIGHT, label=f"right ({int(right.sum())})")
    _scatter(axes, placed[~right], color=WRONG, label=f"wrong ({int((~right).sum())})")
    axes.set_title("prediction", fontsize=9)
    _legend(axes, 2)


def _by_uncertainty(figure: Any, axes: Any, points: Points, placed: NDArray[np.floating]) -> None:
    order = np.argsort(points.uncertainty)  # the uncertain ones on top
    drawn = _scatter(axes, placed[order], c=points.uncertainty[order], cmap="viridis", vmin=0)
    axes.set_title("entropy of the prediction, as a share of the largest", fontsize=9)
    # within the panel's own place, so that all panels are of one size and height
    figure.colorbar(drawn, cax=axes.inset_axes((0.1, -0.08, 0.8, 0.04)), orientation="horizontal")


def _scatter(axes: Any, placed: NDArray[np.floating], **look: Any) -> Any:
    return axes.scatter(placed[:, 0], placed[:, 1], s=9, linewidths=0, alpha=0.85, **look)


def _legend(axes: Any, entries: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=min(entries, 4), fontsize=8, frameon=False)


def _principal(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first two principal components, the first of deviation 0.0001, as t-SNE is begun from."""
    centered = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    left, values, right = np.linalg.svd(centered, full_matrices=False)
    wide = np.zeros((len(features), 2))
    count = min(2, len(values))
    # the sign of a component is free: the largest entry of each is made positive
    signs = np.sign(right[np.arange(count), np.abs(right[:count]).argmax(1)])
    wide[:, :count] = left[:, :count] * values[:count] * signs
    return (wide / max(float(wide[:, 0].std()), 1e-12) * 1e-4).astype(np.float32)


def joined(parts: Sequence[Points]) -> Points:
    """Several sets of points of one run as one.

    Raises:
        ValueError: there is none.
    """
    if not parts:
        raise ValueError("no points to join")
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("voxels", "labels", "predicted", "uncertainty", "features")
    }
    cases = tuple(case for part in parts for case in part.cases)
    return Points(cases=cases, classes=parts[0].classes, referenced=parts[0].referenced, **arrays)
