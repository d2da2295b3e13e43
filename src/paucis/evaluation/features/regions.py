"""Regions that a clustering finds in images, in two dimensions: t-SNE, as a table and a picture."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paucis.errors import PaucisError
from paucis.evaluation.features.embedding import FEWEST, project
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write, write_text

PROTOTYPE = "(prototype)"
_SIDE = 5.0  # of the picture, in inches
_COLORS = 20  # of the color map, which pictures of clusters have too


@dataclass(frozen=True)
class Regions:
    """Regions of images; N of them, of C clusters.

    Attributes:
        cases: case name of each.
        clusters: (N,) number of each one's cluster.
        shares: (N,) of its image's voxels.
        vectors: (N, D) of length 1.
        prototypes: (C, D), the direction of the mean of each cluster's regions; 0 where it has none.
    """

    cases: tuple[str, ...]
    clusters: NDArray[np.integer]
    shares: NDArray[np.floating]
    vectors: NDArray[np.float32]
    prototypes: NDArray[np.float32]


def place(regions: Regions, *, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Regions (N, 2) and the prototypes of clusters that have regions (K, 2) in two dimensions, by one t-SNE.

    Raises:
        PaucisError: too few regions.
    """
    if len(regions.cases) < FEWEST:
        raise PaucisError(f"only {len(regions.cases)} regions were found to embed: give more images")
    placed = project(np.concatenate([regions.vectors, regions.prototypes[used(regions)]]), seed=seed)
    return placed[: len(regions.cases)], placed[len(regions.cases) :]


def used(regions: Regions) -> NDArray[np.integer]:
    """The clusters that have regions, in order: (K,)."""
    found: NDArray[np.integer] = np.unique(regions.clusters)
    return found


def write_regions(path: Path, regions: Regions, placed: NDArray[np.floating], prototypes: NDArray[np.floating]) -> None:
    """The regions as CSV, a row for each, then the prototypes.

    Raises:
        PaucisError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "cluster", "share", "tsne_1", "tsne_2"])
    for case, cluster, share, at in zip(regions.cases, regions.clusters, regions.shares, placed, strict=True):
        writer.writerow([case, int(cluster), f"{share:.6g}", *(f"{float(value):.6g}" for value in at)])
    for cluster, at in zip(used(regions), prototypes, strict=True):
        writer.writerow([PROTOTYPE, int(cluster), "", *(f"{float(value):.6g}" for value in at)])
    write_text(path, text.getvalue(), ELSEWHERE)


def draw_regions(
    path: Path, regions: Regions, placed: NDArray[np.floating], prototypes: NDArray[np.floating], title: str = ""
) -> None:
    """The regions as PNG: a dot for each in the color of its cluster, larger with more voxels; stars are prototypes.

    Raises:
        PaucisError: the file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIDE, _SIDE + 0.7), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(1, 1, 1)
    axes.set(xticks=[], yticks=[])
    axes.set_box_aspect(1)
    colors = colormaps["tab20"]
    for number, cluster in enumerate(used(regions)):
        mine, color = regions.clusters == cluster, [colors(int(cluster) % _COLORS)]
        sizes, own, star = 6 + 120 * regions.shares[mine], placed[mine], prototypes[number]
        axes.scatter(own[:, 0], own[:, 1], s=sizes, c=color, linewidths=0, alpha=0.7, label=str(cluster))
        axes.scatter(star[0], star[1], s=130, c=color, marker="*", edgecolors="black", linewidths=0.8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=8, fontsize=7, frameon=False, title="cluster")
    if title:
        figure.suptitle(title, fontsize=10)
    write(path, lambda file: figure.savefig(file, dpi=110, format="png"), ELSEWHERE)
