"""Calibration and error detection of one case: masks, probabilities and maps in, sums and figures out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.evaluation.reliability.bins import Bins, Ranks

REGIONS = ("box", "foreground", "all")
"""Where voxels are counted: in the box around both masks with a margin, in either mask, everywhere."""

EVERY = "all classes"
"""What the lines of the winning class are called, beside those of each class against the rest."""

MARGIN = 0.1
"""Of the box, as a share of its length on each side; at least two voxels."""

Read = Callable[[], NDArray[Any]]
Mask = NDArray[np.bool_]


@dataclass
class Sums:
    """What is summed over the voxels of a region.

    Attributes:
        bins: of the winning class (``EVERY``) and of each class.
        ranks: of the same: for the winning class of its doubt ``1 - p`` against being wrong.
        brier: sum of squared differences, of the same.
        errors: ranks of each uncertainty map against being wrong.
        voxels: how many.
        wrong: how many of them are predicted wrongly.
    """

    bins: dict[str, Bins] = field(default_factory=dict)
    ranks: dict[str, Ranks] = field(default_factory=dict)
    brier: dict[str, float] = field(default_factory=dict)
    errors: dict[str, Ranks] = field(default_factory=dict)
    voxels: int = 0
    wrong: int = 0

    def join(self, other: Sums) -> None:
        """Adds the voxels of another case, for the pooled picture: bins and errors."""
        for name, bins in other.bins.items():
            self.bins.setdefault(name, Bins()).join(bins)
        for name, ranks in other.errors.items():
            self.errors.setdefault(name, Ranks()).join(ranks)
        self.voxels += other.voxels
        self.wrong += other.wrong

    def calibration(self, name: str) -> dict[str, float]:
        """ECE, ACE and Brier score; NaN where there is no voxel, or no probabilities for the Brier score."""
        brier = self.brier.get(name, math.nan) / self.voxels if self.voxels else math.nan
        return {"ece": self.bins[name].ece, "ace": self.ranks[name].ace, "brier": brier}

    def detection(self) -> dict[str, float]:
        """AUROC of the errors and area under the risk-coverage curve of each map, and the least that area could be."""
        figures: dict[str, float] = {}
        for name, ranks in self.errors.items():
            figures |= {f"auroc:{name}": ranks.auroc, f"aurc:{name}": ranks.aurc}
        least = next((ranks.best_aurc for ranks in self.errors.values()), math.nan)
        return {**figures, "aurc:least": least}


@dataclass(frozen=True)
class CaseSums:
    """A case: its name, its patient, and the sums of each region."""

    case: str
    group: str
    regions: dict[str, Sums]


def measure(
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    classes: Sequence[str],
    confidence: Read,
    probabilities: Sequence[Read],
    maps: Mapping[str, Read],
    ignore: int = 255,
) -> dict[str, Sums]:
    """The sums of a case, region by region; one map is in memory at a time.

    Args:
        prediction: class indices (Z, Y, X).
        reference: of the same shape; voxels equal to ``ignore`` are not counted.
        classes: names, the background first.
        confidence: reads the largest probability (Z, Y, X).
        probabilities: read that of each class; empty where they are not known.
        maps: read the uncertainty maps in [0, 1] by name; ``confidence`` is turned into ``1 - confidence``.
        ignore: of the reference.
    """
    known = reference != ignore
    places = {name: place & known for name, place in regions(prediction, reference, known).items()}
    sums = {name: Sums(voxels=int(np.count_nonzero(place))) for name, place in places.items()}
    wrong = prediction != reference
    sure = confidence()
    for name, place in places.items():
        errors = wrong[place]
        sums[name].wrong = int(np.count_nonzero(errors))
        _calibrate(sums[name], EVERY, sure[place], ~errors)
        sums[name].ranks[EVERY] = _ranks(1 - sure[place].astype(np.float32), errors)
    squared = np.zeros(reference.shape, np.float32)
    for label, read in enumerate(probabilities):
        p, true = read().astype(np.float32), reference == label
        squared += (p - true) ** 2
        for name, place in places.items() if label else ():
            _calibrate(sums[name], classes[label], p[place], true[place])
            sums[name].ranks[classes[label]] = _ranks(p[place], true[place])
            sums[name].brier[classes[label]] = float(((p[place] - true[place]) ** 2).sum(dtype=np.float64))
    for name, place in places.items() if probabilities else ():
        sums[name].brier[EVERY] = float(squared[place].sum(dtype=np.float64))
    for title, read in maps.items():
        doubt = 1 - sure if title == "confidence" else read()
        for name, place in places.items():
            sums[name].errors[title] = _ranks(doubt[place], wrong[place])
    return sums


def regions(prediction: NDArray[np.integer], reference: NDArray[np.integer], known: Mask) -> dict[str, Mask]:
    """The voxels of each of ``REGIONS``; all but ``all`` are empty where neither mask holds anything."""
    either = ((prediction > 0) | (reference > 0)) & known
    box = np.zeros(either.shape, bool)
    if either.any():
        box[around(either)] = True
    return {"box": box, "foreground": either, "all": np.ones(either.shape, bool)}


def around(mask: Mask) -> tuple[slice, ...]:
    """The box around a mask that is not empty, with its margin, cut at the border."""
    sides = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        more = max(2, math.ceil(MARGIN * (inside[-1] - inside[0] + 1)))
        sides.append(slice(max(int(inside[0]) - more, 0), int(inside[-1]) + 1 + more))
    return tuple(sides)


def _calibrate(sums: Sums, name: str, stated: NDArray[Any], true: Mask) -> None:
    sums.bins[name] = Bins()
    sums.bins[name].add(stated, true)


def _ranks(values: NDArray[Any], outcomes: Mask) -> Ranks:
    ranks = Ranks()
    ranks.add(values, outcomes)
    return ranks
