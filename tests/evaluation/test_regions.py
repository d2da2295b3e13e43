"""Regions in two dimensions: alike ones lie together, prototypes among their own, clusters without any are left out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from paucis.errors import PaucisError
from paucis.evaluation.features.regions import PROTOTYPE, Regions, draw_regions, place, used, write_regions


def regions(count: int = 12, clusters: tuple[int, ...] = (0, 2)) -> Regions:
    """Tight bundles of vectors, one for each cluster."""
    rng, numbers = np.random.default_rng(0), np.repeat(clusters, count)
    vectors = np.eye(4, dtype=np.float32)[numbers] + rng.normal(0, 0.02, (len(numbers), 4)).astype(np.float32)
    names = tuple(f"case_{k % count}" for k in range(len(numbers)))
    prototypes = np.eye(3, 4, dtype=np.float32)
    prototypes[1] = 0
    return Regions(names, numbers, np.full(len(numbers), 0.5), vectors, prototypes)


def test_prototypes_lie_among_the_regions_of_their_cluster() -> None:
    found = regions()
    placed, prototypes = place(found, seed=1)
    assert (placed.shape, prototypes.shape) == ((24, 2), (2, 2)), "the empty cluster has none"
    for number, cluster in enumerate(used(found)):
        own = np.linalg.norm(placed[found.clusters == cluster] - prototypes[number], axis=1)
        other = np.linalg.norm(placed[found.clusters != cluster] - prototypes[number], axis=1)
        assert own.max() < other.min()


def test_the_table_has_a_row_for_each_region_and_prototype(tmp_path: Path) -> None:
    found = regions(6)
    placed, prototypes = place(found)
    write_regions(tmp_path / "a.csv", found, placed, prototypes)
    draw_regions(tmp_path / "a.png", found, placed, prototypes, "title")
    with (tmp_path / "a.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [row["case"] for row in table] == [*found.cases, PROTOTYPE, PROTOTYPE]
    assert [int(row["cluster"]) for row in table] == [*found.clusters, 0, 2]
    assert float(table[0]["tsne_1"]) == pytest.approx(placed[0, 0], rel=1e-4)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_are_refused() -> None:
    with pytest.raises(PaucisError, match="only 2 regions were found to embed"):
        place(regions(1))
