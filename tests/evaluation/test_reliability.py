"""Every figure against a loop over voxels or a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paucis.evaluation.reliability.bins import BINS, Bins, Ranks


def binned(p: np.ndarray, true: np.ndarray) -> Bins:
    bins = Bins()
    bins.add(p, true)
    return bins


def ranked(values: np.ndarray, true: np.ndarray) -> Ranks:
    ranks = Ranks()
    ranks.add(values, true)
    return ranks


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Uncertainties that are told apart, and errors that come more often where they are large."""
    rng = np.random.default_rng(seed)
    u = rng.permutation(np.linspace(0.01, 0.99, count)).astype(np.float32)
    return u, rng.random(count) < u


def test_ece_is_the_loop_over_bins() -> None:
    rng = np.random.default_rng(1)
    p, true = rng.random(500), rng.random(500) < 0.6
    expected = 0.0
    for b in range(BINS):
        inside = (p > b / BINS) & (p <= (b + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(true[inside].mean() - p[inside].mean())
    assert binned(p, true).ece == pytest.approx(expected)


def test_what_comes_true_as_often_as_stated_has_no_calibration_error() -> None:
    p = np.repeat([0.25, 0.75], 400)
    true = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert binned(p, true).ece == pytest.approx(0, abs=1e-12)
    assert ranked(p, true).ace == pytest.approx(0, abs=1e-9)


def test_certainty_that_is_wrong_by_a_fifth_costs_a_fifth_at_both_ends_of_the_scale() -> None:
    true = np.arange(100) < 80
    for p, outcome in ((np.ones(100), true), (np.zeros(100), ~true)):
        assert binned(p, outcome).ece == pytest.approx(0.2)
        assert ranked(p, outcome).ace == pytest.approx(0.2)


def test_ace_is_the_loop_over_bins_of_equal_count() -> None:
    values, true = drawn(BINS * 20)
    order = np.argsort(values)
    gaps = [abs(true[part].mean() - values[part].mean()) for part in np.split(order, BINS)]
    assert ranked(values, true).ace == pytest.approx(np.mean(gaps), abs=1e-4)


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    values, true = drawn(300)
    bins, ranks = binned(values[:100], true[:100]), ranked(values[:100], true[:100])
    bins.join(binned(values[100:], true[100:]))
    ranks.join(ranked(values[100:], true[100:]))
    whole = ranked(values, true)
    assert bins.ece == pytest.approx(binned(values, true).ece)
    assert (ranks.auroc, ranks.aurc, ranks.ace) == pytest.approx((whole.auroc, whole.aurc, whole.ace))


def test_auroc_is_that_of_all_pairs_ties_counting_half() -> None:
    values, true = drawn(200)
    values[:40] = values[40:80]
    pairs = [(a > b) + 0.5 * (a == b) for a in values[true] for b in values[~true]]
    assert ranked(values, true).auroc == pytest.approx(np.mean(pairs), abs=1e-3)
    sklearn = pytest.importorskip("sklearn.metrics")
    assert ranked(values, true).auroc == pytest.approx(sklearn.roc_auc_score(true, values), abs=1e-3)


def test_small_uncertainties_are_told_apart_as_well_as_large_ones() -> None:
    values = np.array([1e-7, 2e-7, 3e-7, 4e-7])
    assert ranked(values, np.array([False, False, True, True])).auroc == 1
    assert ranked(values, np.array([True, True, False, False])).auroc == 0


def test_the_area_under_risk_and_coverage_is_the_mean_of_its_risks() -> None:
    values, true = drawn(150)
    wrong = true[np.argsort(values)]
    risks = np.cumsum(wrong) / np.arange(1, 151)
    ranks = ranked(values, true)
    assert ranks.aurc == pytest.approx(risks.mean(), abs=1e-4)
    assert ranks.best_aurc == pytest.approx((np.cumsum(np.sort(true)) / np.arange(1, 151)).mean())
    coverage, risk = ranks.risk_coverage(150)
    np.testing.assert_allclose(coverage, np.arange(1, 151) / 150)
    np.testing.assert_allclose(risk, risks, atol=1e-3)


def test_ties_count_as_drawn_by_lot() -> None:
    true = np.array([True, False, False, True, False, False])
    values = np.array([0.2, 0.2, 0.2, 0.7, 0.7, 0.9])
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(4000):
        order = np.lexsort((rng.random(6), values))
        areas.append((np.cumsum(true[order]) / np.arange(1, 7)).mean())
    assert ranked(values, true).aurc == pytest.approx(np.mean(areas), abs=0.01)


def test_a_useless_uncertainty_leaves_the_risk_as_it_is() -> None:
    true = np.arange(40) < 10
    ranks = ranked(np.full(40, 0.3), true)
    assert (ranks.auroc, ranks.aurc) == pytest.approx((0.5, 0.25))


def test_without_voxels_or_errors_there_is_no_figure() -> None:
    nothing = np.zeros(0), np.zeros(0, bool)
    assert all(math.isnan(value) for value in (binned(*nothing).ece, ranked(*nothing).ace, ranked(*nothing).aurc))
    faultless = ranked(np.array([0.1, 0.2]), np.array([False, False]))
    assert math.isnan(faultless.auroc)
    assert (faultless.aurc, faultless.best_aurc) == (0, 0)
