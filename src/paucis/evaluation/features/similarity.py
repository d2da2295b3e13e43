"""A picture of how alike the vectors of an image's pixels are to that of one of them, and of their clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write

_SIDE = 4.2  # of a panel, in inches


def cosine(vectors: NDArray[np.float32], one: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of (..., D) vectors with one (D,); 0 where either has no length."""
    lengths = np.linalg.norm(vectors, axis=-1) * np.linalg.norm(one)
    similar: NDArray[np.float32] = ((vectors @ one) / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return similar


def draw_similarity(
    path: Path,
    image: NDArray[np.float32],
    similar: NDArray[np.float32],
    point: tuple[int, int],
    *,
    clusters: NDArray[np.integer] | None = None,
    aspect: float = 1.0,
    title: str = "",
) -> None:
    """Image with the point, map of the similarity, and the clusters where there are some, side by side as PNG.

    Args:
        path: of the picture.
        image: gray (Y, X) or color (Y, X, 3), in [0, 1].
        similar: (Y, X) cosines.
        point: (Y, X) of the pixel that the others are compared with.
        clusters: (Y, X) number of each pixel's cluster.
        aspect: height of a pixel over its width.
        title: above all.

    Raises:
        PaucisError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = 2 if clusters is None else 3
    figure = Figure(figsize=(_SIDE * panels, _SIDE + 0.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, number) for number in range(1, panels + 1)]
    axes[0].imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    axes[0].set_title("image", fontsize=9)
    shown = axes[1].imshow(similar, cmap="viridis", vmin=-1, vmax=1, aspect=aspect)
    axes[1].set_title("cosine with the point", fontsize=9)
    figure.colorbar(shown, ax=axes[1], location="bottom", shrink=0.8, pad=0.02)
    if clusters is not None:
        axes[2].imshow(clusters, cmap="tab20", vmin=0, vmax=19, interpolation="nearest", aspect=aspect)
        axes[2].set_title(f"clusters ({len(np.unique(clusters))})", fontsize=9)
    for each in axes:
        each.set(xticks=[], yticks=[])
        _mark(each, point)
    if title:
        figure.suptitle(title, fontsize=10)
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)


def _mark(axes: Any, point: tuple[int, int]) -> None:
    axes.plot(point[1], point[0], marker="+", markersize=12, markeredgewidth=2, color="#D55E00")
