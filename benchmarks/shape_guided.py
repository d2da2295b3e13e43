"""Retinal vessels found without a label, guided by vessel masks of OCTA and DSA, beside a Frangi filter.

    python benchmarks/shape_guided.py DATA OUT [--shapes octa] [--seed 0] [KEY=VALUE ...]

DATA holds DRIVE, CHASE_DB1 and the reference masks as their publishers pack them (``drive/``, ``chase_db1/``,
``octa_dsa_masks/``); what is there of them is taken. OUT goes on with what it holds: the prepared pictures (cropped to
the field of view, 512 x 512), the run (recipe ``shape-guided-fundus-small``), the masks, the figures in ``dice.csv``, a
sheet of pictures ``found.png``. KEY=VALUE are options of ``paucis discover``.

All pictures are trained on, their vessel masks are looked at by the Dice coefficients alone, which are those of the
prepared pictures within the field of view. Frangi's filter (scikit-image, to be installed for this) is given the green
channel; it has no threshold of its own: it takes as many of the brightest voxels as the reference masks take
(``frangi``), or the one threshold for all pictures that their vessel masks show to be best (``frangi, best``).
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis import discover, predict
from paucis.data.field import bright
from paucis.data.formats import read_image, read_label
from paucis.evaluation.overlap import overlaps
from paucis.options import parse_overrides
from paucis.workflows.hooks import Hooks
from paucis.workflows.prepare import prepare

SETS = {"drive": "drive", "chase": "chase-db1"}
FOLDERS = {"drive": "drive", "chase": "chase_db1"}
RECIPE = "shape-guided-fundus-small"
ROWS = {
    "OutOri": "clusters",
    "OutClu": "clustering",
    "Refine": "refined_uniform",
    "RefineUncer": "refined_certain",
}
SIGMAS = (1.0, 2.0, 3.0, 4.0)
"""Of Frangi's filter, in pixels of the prepared pictures."""
COLORS = [np.array(color) / 255 for color in ((255, 255, 255), (230, 159, 0), (86, 180, 233))]
BLACK = np.zeros(3)
RIM = 12
"""Pixels along the field of view's border where its edge, which is no vessel, answers the filter."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shapes", choices=("octa", "dsa", "both"), default="both", help="which masks guide")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args()


def pictures(data: Path, out: Path) -> Path:
    """The pictures and vessel masks of both sets in one folder."""
    folder = out / "fundus"
    for name, published in SETS.items():
        root = out / "prepared" / name
        if not root.is_dir():
            prepare(published, data / FOLDERS[name], out=root, partial=True)
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for file in sorted((root / kind).iterdir()):
                if not (folder / kind / f"{name}_{file.name}").exists():
                    shutil.copyfile(file, folder / kind / f"{name}_{file.name}")
    return folder


def guides(data: Path, out: Path, wanted: str) -> Path:
    """The reference masks that are asked for, in one folder."""
    folder = out / "shapes"
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((data / "octa_dsa_masks").rglob("*.png")):
        kind = file.parent.name.split("_")[0].lower()
        if wanted in (kind, "both"):
            shutil.copyfile(file, folder / f"{kind}_{file.name}")
    return folder


def truths(folder: Path) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Name, vessels and field of view (Y, X) of every picture."""
    for file in sorted((folder / "images").iterdir()):
        vessels = read_label(folder / "masks" / f"{file.stem}.png").array[0, 0] > 0
        yield file.stem, vessels, bright(read_image([file]).array)[0]


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    return overlaps(found[inside].astype(np.uint8), truth[inside].astype(np.uint8), 2)[1].dice


def frangi_answer(folder: Path, name: str, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What Frangi's filter makes of a picture's green channel (Y, X); 0 along the border of its field of view."""
    from scipy.ndimage import binary_erosion
    from skimage.filters import frangi

    green = read_image([folder / "images" / f"{name}.png"]).array[1, 0].astype(np.float64) / 255
    answer: NDArray[np.float64] = frangi(green, sigmas=SIGMAS, black_ridges=True)
    answer[~binary_erosion(inside, iterations=RIM, border_value=0)] = 0
    return answer


def frangi_rows(folder: Path, share: float) -> dict[str, dict[str, float]]:
    """Dice of Frangi's filter by picture: at the references' share of the pixels, and at the best common share."""
    shares = sorted({share, *np.round(np.arange(0.02, 0.21, 0.01), 2)})
    scores: dict[float, dict[str, float]] = {each: {} for each in shares}
    for name, vessels, inside in truths(folder):
        answer = frangi_answer(folder, name, inside)
        for each in shares:
            scores[each][name] = dice(answer > np.quantile(answer[inside], 1 - each), vessels, inside)
    best = max(shares, key=lambda each: float(np.mean(list(scores[each].values()))))
    return {"frangi": scores[share], f"frangi, best ({100 * best:.0f} %)": scores[best]}


def run_rows(run: Path, folder: Path, out: Path) -> dict[str, dict[str, float]]:
    """Dice of each answer of the run by picture."""
    rows: dict[str, dict[str, float]] = {}
    for row, output in ROWS.items():
        masks = out / "masks" / output
        done = masks / "manifest.json"
        if not done.is_file() or len(json.loads(done.read_text())["cases"]) < len(list((folder / "images").iterdir())):
            predict(run, folder / "images", out=masks, options={"output": output, "maps": "confidence"})
        rows[row] = {
            name: dice(read_label(masks / f"{name}.png").array[0, 0] > 0, vessels, inside)
            for name, vessels, inside in truths(folder)
        }
    return rows


def draw(path: Path, folder: Path, out: Path, share: float, scores: dict[str, dict[str, float]]) -> None:
    """Two pictures of each set: hits in white, what was missed in blue, what is no vessel in orange."""
    from matplotlib.figure import Figure

    cases = {name: (truth, inside) for name, truth, inside in truths(folder)}
    shown = [name for each in SETS for name in sorted(case for case in cases if case.startswith(each))[1::11][:2]]
    rows = [*ROWS, "frangi"]
    figure = Figure(figsize=(2 * (len(rows) + 1), 2.15 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), len(rows) + 1, squeeze=False)
    for line, name in zip(grid, shown, strict=True):
        truth, inside = cases[name]
        line[0].imshow(read_image([folder / "images" / f"{name}.png"]).array[:, 0].transpose(1, 2, 0))
        line[0].set_title(name, fontsize=7)
        for axes, row in zip(line[1:], rows, strict=True):
            if row in ROWS:
                found = read_label(out / "masks" / ROWS[row] / f"{name}.png").array[0, 0] > 0
            else:
                answer = frangi_answer(folder, name, inside)
                found = answer > np.quantile(answer[inside], 1 - share)
            axes.imshow(np.select([(found & truth)[..., None], found[..., None], truth[..., None]], COLORS, BLACK))
            axes.set_title(f"{row} {100 * scores[row][name]:.0f}", fontsize=7)
        for axes in line:
            axes.set_axis_off()
    figure.savefig(path, dpi=110)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Mean Dice of all pictures and of each set, in percent."""
    lines = [f"{'':24}" + "".join(f"{name:>10}" for name in ("all", *SETS))]
    for row, scores in rows.items():
        means = [
            np.mean([100 * value for name, value in scores.items() if name.startswith(chosen)])
            for chosen in ("", *SETS)
        ]
        lines.append(f"{row:24}" + "".join(f"{mean:10.2f}" for mean in means))
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    folder, shapes = pictures(options.data, options.out), guides(options.data, options.out, options.shapes)
    given: dict[str, Any] = {"seed": options.seed, "checkpoint.every": 50, **parse_overrides(options.options)}
    run = options.out / "run"
    going_on = (run / "config.json").is_file()
    done = discover(
        folder / "images",
        shapes=shapes,
        field="auto",
        out=run,
        recipe=RECIPE,
        options=given,
        resume=going_on,
        hooks=Hooks(print),
    )
    if not done.trained.finished:
        print(f"stopped and saved: the same command goes on ({run})")
        return
    assert done.target is not None
    assert done.shapes is not None
    print(f"the target takes {100 * done.target:.2f} % of the field of view, references {100 * done.shapes:.2f} %")
    if done.collapse:
        print(done.collapse)
    rows = {**run_rows(run, folder, options.out), **frangi_rows(folder, done.shapes)}
    with (options.out / "dice.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "picture", "dice"])
        writer.writerows([row, name, f"{value:.4f}"] for row, scores in rows.items() for name, value in scores.items())
    draw(options.out / "found.png", folder, options.out, done.shapes, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
