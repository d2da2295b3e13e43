"""Do stated probabilities come true, and do uncertain voxels hold the errors: sums over voxels, figures from sums.

Everything is summed voxel by voxel into arrays of fixed size, so that volumes and cases of any number add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

BINS = 15
"""Bins of the calibration errors and of the reliability picture."""

_SHIFT = 12  # bits of a float's 23 that are dropped: values are told apart to 1 part in 2048, at every magnitude
_KEYS = (0x3F800000 >> _SHIFT) + 1  # of floats in [0, 1]

Counts = NDArray[np.float64]


@dataclass
class Bins:
    """Probabilities and outcomes in bins of equal width, ``(b / B, (b + 1) / B]``.

    Attributes:
        count: voxels in each bin.
        stated: sum of their probabilities.
        true: how many came true.
    """

    count: Counts = field(default_factory=lambda: np.zeros(BINS))
    stated: Counts = field(default_factory=lambda: np.zeros(BINS))
    true: Counts = field(default_factory=lambda: np.zeros(BINS))

    def add(self, probabilities: NDArray[Any], outcomes: NDArray[np.bool_]) -> None:
        """Adds voxels: what was stated, in [0, 1], and whether it came true; of any equal shape."""
        p = np.clip(probabilities.reshape(-1).astype(np.float64), 0, 1)
        place = np.clip(np.ceil(p * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self.count += np.bincount(place, minlength=BINS)
        self.stated += np.bincount(place, p, minlength=BINS)
        self.true += np.bincount(place, outcomes.reshape(-1), minlength=BINS)

    def join(self, other: Bins) -> None:
        """Adds the voxels of another."""
        self.count += other.count
        self.stated += other.stated
        self.true += other.true

    @property
    def ece(self) -> float:
        """Expected calibration error, ``sum_b n_b / N |true_b / n_b - stated_b / n_b|``; NaN without a voxel.

        Reference: M. Naeini, G. Cooper, M. Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning.
        AAAI, 2015; C. Guo et al., ICML, 2017.
        """
        total = self.count.sum()
        return float(np.abs(self.true - self.stated).sum() / total) if total else math.nan


@dataclass
class Ranks:
    """Values in [0, 1] and outcomes, counted by value so finely that they are as good as sorted.

    Values that differ by less than 1 part in 2048 count as equal, ties as in a draw by lot.

    Attributes:
        count: voxels of each value, ascending.
        true: how many of them came true (of an uncertainty: are wrong).
        stated: sum of their values.
    """

    count: Counts = field(default_factory=lambda: np.zeros(_KEYS))
    true: Counts = field(default_factory=lambda: np.zeros(_KEYS))
    stated: Counts = field(default_factory=lambda: np.zeros(_KEYS))

    def add(self, values: NDArray[Any], outcomes: NDArray[np.bool_]) -> None:
        """Adds voxels, of any equal shape."""
        v = np.clip(np.nan_to_num(values.reshape(-1).astype(np.float32)), 0, 1) + np.float32(0)
        keys = (v.view(np.uint32) >> _SHIFT).astype(np.int64)
        self.count += np.bincount(keys, minlength=_KEYS)
        self.true += np.bincount(keys, outcomes.reshape(-1), minlength=_KEYS)
        self.stated += np.bincount(keys, v, minlength=_KEYS)

    def join(self, other: Ranks) -> None:
        """Adds the voxels of another."""
        self.count += other.count
        self.true += other.true
        self.stated += other.stated

    @property
    def ace(self) -> float:
        """Adaptive calibration error: mean over 15 bins of equally many voxels of ``|true_b - stated_b| / n_b``.

        Reference: J. Nixon, M. Dusenberry, L. Zhang, G. Jerfel, D. Tran: Measuring calibration in deep learning. CVPR
        workshops, 2019. *Deviations*: of one probability a voxel; theirs is the mean of this over classes.
        """
        total = self.count.sum()
        if not total:
            return math.nan
        ends = np.linspace(0, total, BINS + 1)
        before = np.concatenate([[0.0], np.cumsum(self.count)])
        gap = np.concatenate([[0.0], np.cumsum(self.true - self.stated)])
        kept = np.concatenate([[True], np.diff(before) > 0])  # within a value, voxels share its error evenly
        return float(np.abs(np.diff(np.interp(ends, before[kept], gap[kept]))).sum() / total)

    @property
    def auroc(self) -> float:
        """Chance that a wrong voxel is more uncertain than a right one, ties counting half; NaN where all are alike."""
        wrong, right = self.true, self.count - self.true
        pairs = wrong.sum() * right.sum()
        if not pairs:
            return math.nan
        below = np.cumsum(right) - right
        return float((wrong * (below + right / 2)).sum() / pairs)

    @property
    def aurc(self) -> float:
        """Area under the risk-coverage curve: mean over all shares kept of the error among the least uncertain.

        ``1/N sum_i (errors among the i least uncertain) / i``, its expectation where values tie.

        Reference: Y. Geifman, G. Uziel, R. El-Yaniv: Bias-reduced uncertainty estimation for deep neural classifiers.
        ICLR, 2019.
        """
        total = self.count.sum()
        if not total:
            return math.nan
        some = self.count > 0
        count, wrong = self.count[some], self.true[some]
        before, errors = np.cumsum(count) - count, np.cumsum(wrong) - wrong
        rate = wrong / count
        harmonic = digamma(before + count + 1) - digamma(before + 1)  # sum of 1/i over the ranks of a tie
        return float((rate * count + (errors - rate * before) * harmonic).sum() / total)

    @property
    def best_aurc(self) -> float:
        """The area that a perfect order would have, every wrong voxel after every right one."""
        total, wrong = self.count.sum(), self.true.sum()
        if not total:
            return math.nan
        right = total - wrong
        # sum over i = right + 1 ... total of (i - right) / i
        return float((wrong - right * (digamma(total + 1) - digamma(right + 1))) / total)

    def risk_coverage(self, points: int = 101) -> tuple[Counts, Counts]:
        """Shares kept, from 1 / points to 1, and the error rate among the least uncertain so many."""
        coverage = np.linspace(0, 1, points + 1)[1:]
        some = self.count > 0
        kept = np.concatenate([[0.0], np.cumsum(self.count[some])])
        wrong = np.concatenate([[0.0], np.cumsum(self.true[some])])
        ends = coverage * kept[-1]
        return coverage, np.interp(ends, kept, wrong) / np.maximum(ends, 1e-12)
