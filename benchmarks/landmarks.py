"""Centers of heart and lungs in chest X-rays from one marked image: accuracy of the parts of local discrimination.

    python benchmarks/landmarks.py --queries JSRT --pool IMAGES --out OUT

JSRT is a dataset with masks of both lungs and the heart, whose centroids are the true points. Networks are pretrained
on IMAGES, whose labels nobody looks at: patch discrimination (``pd``), with hypersphere mixup (``pd+mix``),
with several patch sizes (``pd+mix+ms``), with center-sensitive averages (``pd+mix+ms+cs``), and that without turned and
mirrored views (``upright``). Beside them stand normalized cross-correlation with a template of the pooling size and of
twice that (``ncc``), and the point of the support itself, copied (``copied``). Each of a few images in turn is the one
that is marked. Needs scikit-image. What is finished is not done again: a stopped call goes on. Tables go to
OUT/table.md and OUT/rows.csv.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from skimage.feature import match_template

from paucis.data.case import Case
from paucis.data.formats import read_image, read_label
from paucis.data.grid import Point, Trace, planned_point, planned_voxel
from paucis.data.layouts import recognize
from paucis.data.plan import Plan
from paucis.data.preparation import prepare
from paucis.engine.runs import RunFolder
from paucis.evaluation.landmarks import THRESHOLDS, Peak
from paucis.workflows.landmark_rows import Accuracy, Row, accuracies, rows_of
from paucis.workflows.locate import locate
from paucis.workflows.pretrain import pretrain

RECIPE = "ld-landmarks-small"
PLAIN = {"method.grids": "none", "method.sigma": "none"}
ROWS: dict[str, dict[str, object]] = {
    "pd": {**PLAIN, "method.mixup": 0},
    "pd+mix": PLAIN,
    "pd+mix+ms": {"method.sigma": "none"},
    "pd+mix+ms+cs": {},
    "upright": {"method.turns": "false", "data.flips": "none"},
}
CLASSES = {1: "left lung", 2: "right lung", 3: "heart"}

Found = dict[str, Accuracy]
Centers = Mapping[str, dict[str, Point]]
Images = Mapping[str, tuple[NDArray[np.float32], Trace]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--side", type=int, default=128, help="pixels of an image's side")
    parser.add_argument("--steps", type=int, default=400, help="of each pretraining")
    parser.add_argument("--supports", type=int, default=5, help="images that are marked, one at a time")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Does what is missing, and prints the table."""
    asked = arguments()
    cases = [case for case in recognize(asked.queries).cases if case.label is not None]
    centers = true_points(cases)
    points = asked.out / "centers.csv"
    write_points(points, centers)
    supports = [cases[number * len(cases) // asked.supports] for number in range(asked.supports)]
    size = asked.side // 4
    found: dict[str, list[Found]] = {}
    for name in asked.rows:
        run = pretrained(name, asked)
        found[name] = [located(run, asked, one, points, size, asked.out / "found" / name) for one in supports]
    plan = RunFolder(asked.out / "runs" / asked.rows[0]).plan()
    images = {case.name: prepared(case, plan) for case in cases}
    for times in (1, 2):
        found[f"ncc {times * size + 1}"] = [
            matched(images, centers, one.name, times * size + 1, size) for one in supports
        ]
    found["copied"] = [copied(images, centers, one.name, size) for one in supports]
    write_results(asked.out, found, [case.name for case in supports])


def true_points(cases: list[Case]) -> Centers:
    """The centroid of each class in every image, in pixels as stored."""
    found: dict[str, dict[str, Point]] = {}
    for case in cases:
        assert case.label is not None
        mask = read_label(case.label).array[0]
        found[case.name] = {}
        for value, name in CLASSES.items():
            z, y, x = np.argwhere(mask == value).mean(0)
            found[case.name][name] = float(z), float(y), float(x)
    return found


def write_points(path: Path, centers: Centers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{image},{name},{y:.3f},{x:.3f}" for image, places in centers.items() for name, (_, y, x) in places.items()
    ]
    path.write_text("\n".join(["image,landmark,y,x", *lines]) + "\n")


def pretrained(name: str, asked: argparse.Namespace) -> Path:
    """The run of a row, trained as far as it was not."""
    run = asked.out / "runs" / name
    folder = RunFolder(run)
    if folder.state_file.is_file() and folder.state().get("status") == "finished":
        return run
    options = {"data.size": f"{asked.side},{asked.side}", "train.steps": asked.steps, "seed": asked.seed}
    print(f"pretraining {name}", flush=True)
    done = pretrain(asked.pool, out=run, recipe=RECIPE, resume=True, options={**options, **ROWS[name]})
    if not done.finished:
        raise SystemExit("stopped: the same call goes on")
    return run


def located(run: Path, asked: argparse.Namespace, support: Case, points: Path, size: int, out: Path) -> Found:
    """The accuracy of a run from one support."""
    table = out / f"{support.name}.csv"
    done = table.with_name(f"{table.stem}_accuracy.csv")
    if not done.is_file():
        print(f"locating with {run.name} from {support.name}", flush=True)
        image, marked = support.images[0], str(points)
        locate(run, asked.queries, support=image, points=marked, truth=points, size=(size,), out=table)
    with done.open(newline="") as file:
        return {row["landmark"]: accuracy_of(row) for row in csv.DictReader(file)}


def accuracy_of(row: Mapping[str, str]) -> Accuracy:
    within = tuple(float(row[f"within_{threshold:g}"]) for threshold in THRESHOLDS)
    return Accuracy(int(row["images"]), within, float(row["median_share"]))


def prepared(case: Case, plan: Plan) -> tuple[NDArray[np.float32], Trace]:
    """An image (Y, X) as the networks see it."""
    image, trace = prepare(read_image(case.images), plan)
    return image[0, 0], trace


def matched(images: Images, centers: Centers, support: str, side: int, size: int) -> Found:
    """Normalized cross-correlation with the square of ``side`` pixels, an odd number, around the support's point."""
    image, trace = images[support]
    padded, half = np.pad(image, side // 2, mode="edge"), side // 2
    templates = {}
    for name, point in centers[support].items():
        _, y, x = planned_voxel(point, trace)
        templates[name] = padded[y : y + 2 * half + 1, x : x + 2 * half + 1]

    def peaks(name: str) -> Iterator[tuple[str, Peak]]:
        for landmark, template in templates.items():
            scores = match_template(images[name][0], template, pad_input=True, mode="edge")
            y, x = (int(at) for at in np.unravel_index(scores.argmax(), scores.shape))
            yield landmark, Peak((0, y, x), (0.0, float(y), float(x)), float(scores.max()), 0.0)

    return judged(images, centers, support, size, lambda name: dict(peaks(name)))


def copied(images: Images, centers: Centers, support: str, size: int) -> Found:
    """The place of the support's point, whatever the image shows."""
    places = {name: planned_point(point, images[support][1]) for name, point in centers[support].items()}
    here = {name: Peak((0, round(at[1]), round(at[2])), at, 0.0, 0.0) for name, at in places.items()}
    return judged(images, centers, support, size, lambda name: here)


def judged(images: Images, centers: Centers, support: str, size: int, peaks: Callable[[str], dict[str, Peak]]) -> Found:
    rows: list[Row] = []
    for name, (_, trace) in images.items():
        rows += rows_of(name, peaks(name), centers[name], trace, (1, size, size), name == support)
    return accuracies(rows)


def write_results(out: Path, found: Mapping[str, list[Found]], supports: list[str]) -> None:
    """A line for each row, support and landmark; and a table of the first support, and of the mean over all."""
    lines = [["row", "support", "landmark", "images", *(f"within_{t:g}" for t in THRESHOLDS), "median_share"]]
    for row, results in found.items():
        for support, one in zip(supports, results, strict=True):
            for landmark, share in one.items():
                figures = [f"{value:.4f}" for value in (*share.within, share.median)]
                lines.append([row, support, landmark, str(share.images), *figures])
    with (out / "rows.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    text = []
    for landmark in next(iter(found.values()))[0]:
        head = [
            landmark,
            *(f"{t:g}" for t in THRESHOLDS),
            "mean",
            "median share",
            f"mean of {len(supports)} supports",
            "",
        ]
        text += [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
        for row, results in found.items():
            first, means = results[0][landmark], [mean(one[landmark].within) for one in results]
            cells = [*(f"{100 * share:.1f}" for share in first.within), f"{100 * mean(first.within):.1f}"]
            cells += [f"{first.median:.3f}", f"{100 * mean(means):.1f}"]
            cells += [f"{100 * min(means):.1f} to {100 * max(means):.1f}"]
            text.append(f"| {row} | {' | '.join(cells)} |")
        text.append("")
    (out / "table.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
