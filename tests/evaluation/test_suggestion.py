from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from paucis.errors import PaucisError
from paucis.evaluation.suggestion import NEEDS, RULES, SHARE, Figures, Suggestion, choose, write_suggestions

DRAWS = 6000


def places(rule: str, pool: list[Figures], count: int, **more: object) -> list[int]:
    return [one.place for one in choose(rule, pool, count, **more)]  # type: ignore[arg-type]


def pairs(rule: str, pool: list[Figures]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(places(rule, pool, 2, seed=seed)) for seed in range(DRAWS))


def assert_drawn_by(weights: list[float], found: Counter[tuple[int, ...]]) -> None:
    """Two scans drawn without replacement: ``P(i, j) = w_i / W * w_j / (W - w_i)``."""
    total = sum(weights)
    for first, second in itertools.permutations(range(len(weights)), 2):
        p = weights[first] / total * weights[second] / (total - weights[first])
        assert abs(found[first, second] / DRAWS - p) < 4.5 * math.sqrt(p * (1 - p) / DRAWS)


def test_random_draws_every_pair_alike() -> None:
    assert_drawn_by([1, 1, 1, 1], pairs("random", [Figures(foreground=one) for one in (1, 100, 0, 3)]))


def test_two_in_three_lots_go_by_the_predicted_foreground() -> None:
    foreground = [0.0, 2.0, 6.0, 1.0]
    weights = [SHARE * one / 9 + (1 - SHARE) / 4 for one in foreground]
    assert pairs("foreground", [Figures(foreground=one) for one in foreground])[0, 1] > 0  # an empty scan has a chance
    assert_drawn_by(weights, pairs("foreground", [Figures(foreground=one) for one in foreground]))


def test_without_any_foreground_every_scan_has_the_same_chance() -> None:
    assert_drawn_by([1, 1, 1], pairs("foreground", [Figures(foreground=0.0)] * 3))


def test_lots_are_repeated_by_their_seed_and_differ_between_rules() -> None:
    pool = [Figures(foreground=1.0)] * 20
    assert places("random", pool, 20, seed=3) == places("random", pool, 20, seed=3)
    assert sorted(places("random", pool, 20, seed=3)) == list(range(20))
    assert places("random", pool, 20, seed=3) != places("random", pool, 20, seed=4)
    assert places("random", pool, 20, seed=3) != places("foreground", pool, 20, seed=3)


def test_a_scan_that_leaves_the_pool_of_a_ranking_moves_the_others_up() -> None:
    pool = [Figures(entropy=one) for one in (0.2, 0.5, 0.1, 0.4)]
    assert places("entropy", pool, 4) == [1, 3, 0, 2]
    assert places("entropy", [pool[0], *pool[2:]], 3) == [2, 0, 1]


@pytest.mark.parametrize("rule", ["entropy", "mutual_information"])
def test_the_most_uncertain_comes_first_and_of_equals_the_first_of_the_pool(rule: str) -> None:
    values = [0.1, 0.7, 0.3, 0.7, 0.0]
    chosen = choose(rule, [Figures(**{rule: value}) for value in values], 4)
    assert [one.place for one in chosen] == [1, 3, 2, 0]
    assert [one.score for one in chosen] == [0.7, 0.7, 0.3, 0.1]


def naive_centers(pool: list[np.ndarray], centers: list[np.ndarray], count: int) -> list[tuple[int, float]]:
    chosen: list[tuple[int, float]] = []
    for _ in range(count):
        best, far = -1, -1.0
        for place, one in enumerate(pool):
            if place in [taken for taken, _ in chosen]:
                continue
            known = [*centers, *(pool[taken] for taken, _ in chosen)]
            near = min(math.sqrt(sum((a - b) ** 2 for a, b in zip(one, center, strict=True))) for center in known)
            if near > far + 1e-12:
                best, far = place, near
        chosen.append((best, far))
    return chosen


def test_the_core_set_is_that_of_a_naive_search() -> None:
    rng = np.random.default_rng(0)
    pool, centers = list(rng.normal(size=(15, 4))), list(rng.normal(size=(2, 4)))
    found = choose("core_set", [Figures(features=one) for one in pool], 10, centers=centers)
    expected = naive_centers(pool, centers, 10)
    assert [one.place for one in found] == [place for place, _ in expected]
    np.testing.assert_allclose([one.score for one in found], [far for _, far in expected])
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)  # the radius that is left can only shrink


def test_the_core_set_on_a_line() -> None:
    pool = [Figures(features=np.array([x])) for x in (1.0, 10.0, 4.0, 6.5)]
    found = choose("core_set", pool, 3, centers=[np.array([0.0])])
    assert [(one.place, one.score) for one in found] == [(1, 10.0), (2, 4.0), (3, 2.5)]
    without = choose("core_set", pool, 2)
    assert [one.place for one in without] == [3, 0]  # the nearest to the mean 5.375, then the farthest from it
    assert math.isnan(without[0].score)


@pytest.mark.parametrize("rule", list(RULES))
def test_of_no_patient_is_more_than_one_scan_chosen(rule: str) -> None:
    rng = np.random.default_rng(1)
    pool = [Figures(*rng.random(3).tolist(), rng.random(3)) for _ in range(9)]
    groups = ["a", "a", "b", "b", "b", "c", "a", "c", "c"]
    found = places(rule, pool, 9, groups=groups)
    assert sorted(groups[place] for place in found) == ["a", "b", "c"]
    assert found[0] == places(rule, pool, 9)[0]


@pytest.mark.parametrize("rule", list(RULES))
def test_more_than_there_are_is_all_of_them_and_none_is_none(rule: str) -> None:
    pool = [Figures(0.1, 0.1, 0.1, np.ones(2))] * 3
    assert sorted(places(rule, pool, 5)) == [0, 1, 2]
    assert places(rule, [], 5) == []


def test_each_rule_is_told_what_it_looks_at_and_another_is_refused() -> None:
    assert list(NEEDS) == list(RULES)
    with pytest.raises(PaucisError, match=r"--rule entropie: must be one of .* 'entropy'"):
        choose("entropie", [], 1)


def test_the_table_holds_a_line_for_each_suggestion(tmp_path: Path) -> None:
    images = (Path("a_0.nii.gz"), Path("a_1.nii.gz"))
    lines = [Suggestion(1, "a", "p", images, "random", math.nan), Suggestion(2, "b", "q", images[:1], "entropy", 0.25)]
    write_suggestions(tmp_path / "next.csv", lines)
    with (tmp_path / "next.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row.values()) for row in rows] == [
        ["1", "a", "p", "a_0.nii.gz;a_1.nii.gz", "random", ""],
        ["2", "b", "q", "a_0.nii.gz", "entropy", "0.25"],
    ]
