from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from paucis.evaluation.comparison.statistics import bootstrap_interval, compare, holm, paired, t_interval


def units(values: list[float]) -> dict[str, float]:
    return {f"patient{number}": value for number, value in enumerate(values)}


def test_holm_agrees_with_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_never_falls_below_an_earlier_p() -> None:
    assert holm([0.9, 0.8, 0.2]) == pytest.approx([1.0, 1.0, 0.6])
    assert holm([0.02, 0.021]) == pytest.approx([0.04, 0.04])


def test_holm_counts_only_what_was_tested() -> None:
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


def test_six_gains_are_as_unlikely_as_six_heads_or_six_tails() -> None:
    found = paired(units([0.61, 0.72, 0.83, 0.94, 0.55, 0.66]), units([0.6, 0.7, 0.8, 0.9, 0.5, 0.6]))
    assert found.p == pytest.approx(2 / 2**6)
    assert found.difference == pytest.approx(0.21 / 6)
    assert found.low <= found.difference <= found.high
    assert found.n == 6


def test_the_test_is_the_one_of_scipy_on_the_shared_units() -> None:
    ours, theirs = np.random.default_rng(0).random((2, 25))
    reference = units(list(theirs)) | {"unseen": 0.1}
    found = paired(units(list(ours)) | {"other": 0.3}, reference)
    assert found.n == 25
    assert found.p == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)


def test_a_unit_without_a_figure_is_left_out_on_both_sides() -> None:
    found = paired(units([0.5, math.nan, 0.7, 0.9]), units([0.4, 0.1, math.nan, 0.8]))
    assert found.n == 2
    assert found.difference == pytest.approx(0.1)


def test_equal_results_differ_by_nothing_also_when_rounding_says_otherwise() -> None:
    found = paired(units([0.1 + 0.2, 0.5, 0.7]), units([0.3, 0.5, 0.7]))
    assert (found.difference, found.p) == (0.0, 1.0)


def test_nothing_shared_gives_no_figure() -> None:
    found = paired({"a": 0.5}, {"b": 0.5})
    assert found.n == 0
    assert math.isnan(found.p)
    assert math.isnan(found.difference)


def test_several_methods_are_corrected_together() -> None:
    reference = units([0.5] * 8)
    gains = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
    found = compare(
        {"a": units([0.5 + g for g in gains]), "b": units([0.5 - g for g in gains]), "c": reference}, reference
    )
    assert found["a"].p == pytest.approx(2 / 2**8)
    assert found["a"].adjusted == pytest.approx(3 * 2 / 2**8)
    assert found["b"].difference == pytest.approx(-found["a"].difference)
    assert found["c"].adjusted == 1.0


def test_the_bootstrap_narrows_with_the_units_and_is_repeatable() -> None:
    few, many = np.random.default_rng(1).random(10), np.random.default_rng(1).random(1000)
    assert bootstrap_interval(few, seed=3) == bootstrap_interval(few, seed=3)
    (low, high), (below, above) = bootstrap_interval(few), bootstrap_interval(many)
    assert low < few.mean() < high
    assert above - below == pytest.approx(2 * 1.96 * many.std() / math.sqrt(1000), rel=0.1)
    assert above - below < (high - low) / 3


def test_the_interval_over_seeds_is_students() -> None:
    low, high = t_interval([0.8, 0.82, 0.84])
    half = 4.302652729911275 * 0.02 / math.sqrt(3)
    assert (low, high) == pytest.approx((0.82 - half, 0.82 + half))


@pytest.mark.parametrize("interval", [t_interval, bootstrap_interval])
def test_a_single_value_has_no_interval(interval: object) -> None:
    assert all(math.isnan(end) for end in interval([0.8]))  # type: ignore[operator]
