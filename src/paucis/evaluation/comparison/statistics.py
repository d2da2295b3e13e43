"""Is one set of results better than another: paired differences, their interval, a signed-rank test, Holm's correction.

A unit is what was measured independently of the rest: a patient, or a case where each is a patient of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paucis.evaluation.summary import LEVEL, RESAMPLES

_DIGITS = 12  # differences are rounded to these, so that what is equal but for rounding counts as equal


@dataclass(frozen=True)
class Comparison:
    """One set of results against a reference, unit by unit.

    Attributes:
        n: units that both have.
        difference: mean of (ours - reference); NaN where no unit is shared.
        low: lower end of the 95 % bootstrap interval of ``difference``; NaN for fewer than two units.
        high: upper end.
        p: two-sided p of the Wilcoxon signed-rank test; 1 where nothing differs, NaN where no unit is shared.
        adjusted: ``p`` after Holm's correction over all that was compared with the same reference.
    """

    n: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float


def compare(
    results: Mapping[str, Mapping[str, float]], reference: Mapping[str, float], *, seed: int = 0
) -> dict[str, Comparison]:
    """Compares several sets of results with one reference.

    Args:
        results: figure by unit, for each set by name; NaN is no figure.
        reference: figure by unit.
        seed: of the bootstrap.

    Returns:
        A comparison for each set, ``adjusted`` over all of them.
    """
    found = {name: paired(values, reference, seed=seed) for name, values in results.items()}
    adjusted = holm([comparison.p for comparison in found.values()])
    return {name: replace(one, adjusted=p) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def paired(ours: Mapping[str, float], reference: Mapping[str, float], *, seed: int = 0) -> Comparison:
    """Compares one set of results with a reference over the units that both have.

    Differences of zero are left out of the test, as Wilcoxon has it; p is exact for few units without ties.

    Reference: F. Wilcoxon, *Individual comparisons by ranking methods*, Biometrics Bulletin, 1945.
    """
    shared = [unit for unit in ours if not math.isnan(ours[unit]) and not math.isnan(reference.get(unit, math.nan))]
    if not shared:
        return Comparison(0, *[math.nan] * 5)
    differences = np.round([ours[unit] - reference[unit] for unit in shared], _DIGITS)
    p = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
    low, high = bootstrap_interval(differences, seed)
    return Comparison(len(shared), float(differences.mean()), low, high, p, p)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: ``max over j <= i of (m - j + 1) p_j`` for ascending p, at most 1; NaN stays NaN.

    Reference: S. Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics,
    1979.
    """
    known = sorted((value, index) for index, value in enumerate(p) if not math.isnan(value))
    adjusted, largest = [math.nan] * len(p), 0.0
    for rank, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        adjusted[index] = largest
    return adjusted


def bootstrap_interval(values: Iterable[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean; NaN for fewer than two values."""
    array: NDArray[np.float64] = np.array([value for value in values if not math.isnan(value)])
    if len(array) < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(seed).multinomial(len(array), [1 / len(array)] * len(array), size=RESAMPLES)
    low, high = np.quantile(draws @ array / len(array), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def t_interval(values: Iterable[float]) -> tuple[float, float]:
    """The 95 % interval of the mean by Student's t; NaN for fewer than two values."""
    array: NDArray[np.float64] = np.array([value for value in values if not math.isnan(value)])
    if len(array) < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return float(array.mean()) - half, float(array.mean()) + half
