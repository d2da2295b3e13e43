"""Which scan to label next: rules that choose whole scans by what a model says of each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.errors import PaucisError
from paucis.evaluation.tables import ELSEWHERE
from paucis.files import write_text
from paucis.registry import nearest

RULES = {
    "random": "by lot, every scan alike",
    "foreground": "by lot, two in three lots in proportion to the predicted foreground",
    "entropy": "by the largest mean entropy over the voxels of the scan",
    "mutual_information": "by the largest mean mutual information over the voxels of the scan",
    "core_set": "as the farthest from every labeled and chosen scan, by mean features (greedy k-center)",
}
"""What scans can be chosen by."""

NEEDS: dict[str, frozenset[str]] = {
    "random": frozenset(),
    "foreground": frozenset({"foreground"}),
    "entropy": frozenset({"entropy"}),
    "mutual_information": frozenset({"mutual_information"}),
    "core_set": frozenset({"features"}),
}
"""The figures that each rule looks at."""

SHARE = 2 / 3
"""Of the lots of ``foreground``, those in proportion to the predicted foreground."""


class Figures(NamedTuple):
    """What a model says of one scan; what no rule asked for is NaN or empty.

    Attributes:
        foreground: predicted as any class but the background: mL, or the share of the image where the file carries no
            lengths.
        entropy: mean over all voxels, in [0, 1].
        mutual_information: mean over all voxels, in [0, 1].
        features: (D,) mean over the scan.
    """

    foreground: float = math.nan
    entropy: float = math.nan
    mutual_information: float = math.nan
    features: NDArray[np.floating] = np.zeros(0)


class Choice(NamedTuple):
    """A chosen scan: its place in the pool, and the figure that it was chosen by (NaN where there is none)."""

    place: int
    score: float


def check_rule(rule: str) -> None:
    """Raises PaucisError where there is no such rule."""
    if rule not in RULES:
        raise PaucisError(f"--rule {rule}: must be one of {', '.join(RULES)}{nearest(rule, list(RULES))}")


def choose(
    rule: str,
    pool: Sequence[Figures],
    count: int,
    *,
    seed: int = 0,
    centers: Sequence[NDArray[np.floating]] = (),
    groups: Sequence[Hashable] | None = None,
) -> list[Choice]:
    """Chooses scans one after another, the most wanted first; fewer than ``count`` where no more are free.

    - ``random``: every scan that is left has the same chance.
    - ``foreground``: scan i has a chance in proportion to ``SHARE f_i / sum f + (1 - SHARE) / n``, f being the
      predicted foreground and n the scans of the pool; without any foreground, as ``random``.
    - ``entropy``, ``mutual_information``: the largest first; of equals, the first of the pool.
    - ``core_set``: each time the scan whose distance to the nearest center is largest; every chosen scan becomes a
      center. Without a center, the first is the one nearest to the mean of the pool.

    Args:
        rule: one of ``RULES``.
        pool: figures of the scans to choose from, those that ``NEEDS[rule]`` names.
        count: how many.
        seed: of the lots; each rule draws lots of its own.
        centers: (D,) features of the labeled scans, for ``core_set``.
        groups: patient of each scan; of no patient is more than one scan chosen then.

    Raises:
        PaucisError: no such rule.

    References:
        C. T. Lüth et al.: nnActive, a framework for evaluation of active learning in 3D biomedical segmentation. TMLR,
        2025 (``foreground``). P. S. Efraimidis, P. G. Spirakis: Weighted random sampling with a reservoir. Information
        Processing Letters, 2006 (how lots are drawn). O. Sener, S. Savarese: Active learning for convolutional neural
        networks: a core-set approach. ICLR, 2018 (``core_set``).

    *Deviations*: nnActive chooses patches, of which two in three have their center in the known foreground or on its
    border; here whole scans are chosen, by the foreground that the model predicts, as a foreground voxel drawn from
    the whole pool would choose its scan.
    """
    check_rule(rule)
    if rule == "core_set":
        return _spread([one.features for one in pool], list(centers), count, groups)
    wanted, scores = _wanted(rule, pool, seed)
    free, chosen = np.ones(len(pool), bool), list[Choice]()
    for index in np.argsort(-wanted, kind="stable").tolist():
        if free[index] and len(chosen) < count:
            chosen.append(Choice(index, float(scores[index])))
            _take(free, index, groups)
    return chosen


def _wanted(rule: str, pool: Sequence[Figures], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much each scan is wanted, the most first; and its score."""
    if rule not in ("random", "foreground"):
        figures = np.array([getattr(one, rule) for one in pool], np.float64)
        return figures, figures
    foreground = np.array([one.foreground for one in pool], np.float64)
    weights = np.full(len(pool), 1 / max(len(pool), 1))
    if rule == "foreground" and foreground.sum() > 0:
        weights = SHARE * foreground / foreground.sum() + (1 - SHARE) * weights
    # the smallest of exponential variables of these rates comes first: lots in proportion to them, one after another
    lots = np.random.default_rng([seed, list(RULES).index(rule)]).exponential(size=len(pool))
    return -lots / weights, foreground if rule == "foreground" else np.full(len(pool), math.nan)


def _spread(
    pool: list[NDArray[np.floating]],
    centers: list[NDArray[np.floating]],
    count: int,
    groups: Sequence[Hashable] | None,
) -> list[Choice]:
    if not pool:
        return []
    features, free, chosen = np.stack(pool).astype(np.float64), np.ones(len(pool), bool), list[Choice]()
    distance = np.full(len(pool), np.inf)
    for center in centers:
        distance = np.minimum(distance, np.linalg.norm(features - center, axis=1))
    while free.any() and len(chosen) < count:
        score = distance
        if not centers and not chosen:
            score = -np.linalg.norm(features - features.mean(0), axis=1)
        index = int(np.argmax(np.where(free, score, -np.inf)))
        chosen.append(Choice(index, float(distance[index]) if np.isfinite(distance[index]) else math.nan))
        distance = np.minimum(distance, np.linalg.norm(features - features[index], axis=1))
        _take(free, index, groups)
    return chosen


def _take(free: NDArray[np.bool_], index: int, groups: Sequence[Hashable] | None) -> None:
    free[index] = False
    if groups is not None:
        free[[place for place, group in enumerate(groups) if group == groups[index]]] = False


class Suggestion(NamedTuple):
    """A line of the table: rank from 1, case, patient, image files, rule, score (NaN where the rule has none)."""

    rank: int
    case: str
    patient: str
    images: tuple[Path, ...]
    rule: str
    score: float


def write_suggestions(path: Path, suggestions: Sequence[Suggestion]) -> None:
    """Writes CSV, a line for each suggestion; several files of one scan are divided by ``;``.

    Raises:
        PaucisError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "case", "patient", "path", "rule", "score"])
    for one in suggestions:
        files = ";".join(str(image) for image in one.images)
        score = "" if math.isnan(one.score) else f"{one.score:.6g}"
        writer.writerow([one.rank, one.case, one.patient, files, one.rule, score])
    write_text(path, text.getvalue(), ELSEWHERE)
