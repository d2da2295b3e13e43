"""Feature vectors of encoder layers in two dimensions (t-SNE), of runs with and without PDCR: Figure 7 of its paper.

    python benchmarks/pdcr_vectors.py --runs runs/alone runs/pdcr --image scan.png --label mask.png --out vectors.png

A row of pictures for each run, one for each layer; a point is a vector, its color the share of its receptive field that
is not background. The scan is prepared as each run's plan says, and its middle is cut out where it is larger than the
patch. ``cosine`` above a picture is the mean cosine of vectors with like fields (shares closer than 0.1) minus that of
vectors with unlike ones (further apart than 0.5).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paucis.data.formats import read_image, read_label
from paucis.data.preparation import prepare, prepare_label
from paucis.engine.runs import Run, open_run
from paucis.networks import receptive_fields
from paucis.plugins import class_ratios, vector_grid

LIKE, UNLIKE = 0.1, 0.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--label", type=Path, required=True)
    parser.add_argument("--layers", nargs="+", default=("encoder.1", "encoder.2", "encoder.3"))
    parser.add_argument("--vectors", type=int, default=128, help="of each layer")
    parser.add_argument("--weights", default="last", choices=("best", "last"))
    parser.add_argument("--out", type=Path, required=True, help="a .png file")
    return parser.parse_args()


def middle(array: NDArray[Any], patch: tuple[int, ...]) -> NDArray[Any]:
    """The middle of an array's last axes; an axis that is too short is filled up with zeros."""
    for axis, size in zip(range(-len(patch), 0), patch, strict=True):
        spare = array.shape[axis] - size
        if spare < 0:
            wide = [(0, 0)] * array.ndim
            wide[axis] = (-spare // 2, -spare - (-spare // 2))
            array = np.pad(array, wide)
        else:
            array = array.take(range(spare // 2, spare // 2 + size), axis)
    return array


def vectors(run: Run, options: argparse.Namespace) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Of each layer, vectors (N, D) and the share of their fields that is not background (N)."""
    image, trace = prepare(read_image((options.image,)), run.plan)
    labels = prepare_label(read_label(options.label), run.plan, trace)
    if run.task.ndim == 2:  # the slice that holds most
        best = int((labels > 0).reshape(len(labels), -1).sum(1).argmax())
        image, labels = image[:, best], labels[best]
    cut = torch.from_numpy(middle(np.asarray(image), run.task.patch).astype(np.float32))[None]
    target = torch.from_numpy(middle(np.asarray(labels), run.task.patch).astype(np.int64))[None]
    network, found = run.method.networks()[0], []
    with torch.no_grad():
        maps = network.encode(cut)
    for layer, field in receptive_fields(network, options.layers, run.task.patch).items():
        feature = maps[int(layer.partition(".")[2])]
        grid = vector_grid(feature.shape[2:], options.vectors, field)
        ratios = class_ratios(target, grid.centers, field.size, run.task.classes)
        found.append((feature.flatten(2)[0, :, grid.places].T.numpy(), (1 - ratios[0, :, 0]).numpy()))
    return found


def separation(points: NDArray[Any], shares: NDArray[Any]) -> float:
    """Mean cosine of vectors with like fields minus that of vectors with unlike ones."""
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)
    cosines, apart = unit @ unit.T, np.abs(shares[:, None] - shares[None])
    np.fill_diagonal(apart, np.nan)
    return float(cosines[apart < LIKE].mean() - cosines[apart > UNLIKE].mean())


def main() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE

    options = arguments()
    rows = [vectors(open_run(folder, "cpu", options.weights), options) for folder in options.runs]
    figure = Figure(figsize=(3.2 * len(options.layers), 3.2 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(options.layers), squeeze=False)
    for row, (folder, layers) in enumerate(zip(options.runs, rows, strict=True)):
        for column, (points, shares) in enumerate(layers):
            placed = TSNE(perplexity=min(30, len(points) / 4), init="pca", random_state=0).fit_transform(points)
            score = separation(points, shares)
            axes[row, column].scatter(*placed.T, c=shares, s=12, cmap="viridis", vmin=0, vmax=1)
            axes[row, column].set_title(f"{folder.name}, {options.layers[column]}, cosine {score:.2f}", fontsize=8)
            axes[row, column].set_axis_off()
            print(f"{folder.name}\t{options.layers[column]}\t{score:.3f}", flush=True)
    figure.savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
