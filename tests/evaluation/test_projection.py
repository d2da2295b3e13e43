from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from paucis.errors import PaucisError
from paucis.evaluation.features.embedding import Points, draw, joined, project, write_points


def points(count: int = 30, referenced: bool = True, classes: int = 3) -> Points:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    features = (10 * np.eye(classes, 6)[labels] + rng.normal(size=(count, 6))).astype(np.float32)
    predicted = np.where(np.arange(count) < 5, (labels + 1) % classes, labels)
    names = tuple(f"class {label}" for label in range(classes))
    voxels = rng.integers(0, 9, (count, 3))
    return Points(("a",) * count, voxels, labels, predicted, rng.random(count), features, names, referenced)


def test_clusters_stay_together_and_apart() -> None:
    given = points(60)
    placed = project(given.features)
    centers = np.stack([placed[given.labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(placed[:, None] - centers, axis=2).argmin(1)
    assert (nearest == given.labels).mean() > 0.95


def test_the_seed_decides() -> None:
    features = points().features
    assert np.array_equal(project(features, seed=1), project(features, seed=1))


def test_too_few_or_broken_features_are_refused() -> None:
    with pytest.raises(PaucisError, match="only 7 pixels"):
        project(points().features[:7])
    broken = points().features
    broken[3, 2] = np.nan
    with pytest.raises(PaucisError, match="not finite"):
        project(broken)


def test_features_that_are_all_alike_or_of_one_channel_are_placed() -> None:
    assert np.isfinite(project(np.ones((12, 4), np.float32))).all()
    assert np.isfinite(project(np.arange(12, dtype=np.float32)[:, None])).all()


@pytest.mark.parametrize("referenced", [True, False])
def test_the_table_has_a_row_for_each_point(referenced: bool, tmp_path: Path) -> None:
    given, placed = points(referenced=referenced), np.arange(60.0).reshape(30, 2)
    write_points(tmp_path / "points.csv", given, placed)
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert rows[4]["class"] == "class 1"
    assert rows[4]["predicted"] == "class 2"
    assert [row["correct"] for row in rows[4:6]] == (["0", "1"] if referenced else ["", ""])
    assert [int(rows[7][axis]) for axis in "zyx"] == given.voxels[7].tolist()
    assert (float(rows[7]["tsne_1"]), float(rows[7]["tsne_2"])) == (14.0, 15.0)
    assert float(rows[7]["uncertainty"]) == pytest.approx(given.uncertainty[7], rel=1e-5)


def test_the_picture_has_a_panel_less_without_references(tmp_path: Path) -> None:
    from PIL import Image

    widths, placed = [], points().features[:, :2]
    for referenced in (True, False):
        draw(tmp_path / "picture.png", points(referenced=referenced, classes=10), placed, "title")
        with Image.open(tmp_path / "picture.png") as picture:
            widths.append(picture.width)
            assert len(set(picture.convert("RGB").getdata())) > 50, "nothing is drawn"
    assert widths[0] * 2 == pytest.approx(widths[1] * 3, rel=0.02)


def test_joining_keeps_order() -> None:
    one = points()
    both = joined([one, points(12)])
    assert len(both.cases) == len(both.labels) == len(both.features) == 42
    assert np.array_equal(both.features[:30], one.features)
