"""Intensities on a common scale: which way is chosen by modality, and how it is applied."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from paucis.data.facts import CaseFacts
from paucis.options import option

TINY = 1e-8
HOUNSFIELD_AIR = -800.0
FLAT = 0.1
"""Deviation, in deviations of the case, that ``local`` adds to every neighborhood's own: noise is not blown up."""


@dataclass(frozen=True)
class Normalization:
    """How one channel's intensities are scaled.

    Attributes:
        kind: ``zscore``: (x - mean) / deviation of the case itself. ``ct``: x clipped to [low, high], then
            (x - mean) / std of the dataset's structures (as nnU-Net does, Isensee et al., Nature Methods 2021).
            ``dataset``: (x - mean) / std of the dataset. ``unit``: the case's own range to [0, 1]. ``none``: as stored.
            ``local``: ``zscore``, then by mean and deviation of each voxel's neighborhood, once on the planned grid.
        mean: of the dataset, in stored units.
        std: of the dataset.
        low: lower bound of ``ct``.
        high: upper bound of ``ct``.
        reach: width of the neighborhood of ``local`` (the Gaussian's deviation), in voxels of the planned grid; along
            axes of coarser voxels, so many of the finest ones.
    """

    kind: str = option("zscore", "scaling", choices=("zscore", "ct", "dataset", "unit", "local", "none"))
    mean: float | None = option(None, "mean of the dataset (ct, dataset)")
    std: float | None = option(None, "standard deviation of the dataset (ct, dataset)", minimum=TINY)
    low: float | None = option(None, "lower bound (ct)")
    high: float | None = option(None, "upper bound (ct)")
    reach: float | None = option(None, "width of the neighborhood in voxels (local)", minimum=0.5)

    @property
    def complete(self) -> bool:
        """Whether all figures that the kind needs are there."""
        needed = {
            "ct": (self.mean, self.std, self.low, self.high),
            "dataset": (self.mean, self.std),
            "local": (self.reach,),
        }
        return None not in needed.get(self.kind, ())

    def apply(self, channel: NDArray[np.float32]) -> None:
        """Scales a float32 array as stored, in place."""
        if self.kind == "ct":
            np.clip(channel, self.low, self.high, out=channel)
        if self.kind in ("ct", "dataset"):
            channel -= np.float32(self.mean or 0.0)
            channel /= np.float32(self.std or 1.0)
        elif self.kind in ("zscore", "local"):
            channel -= np.float32(channel.mean(dtype=np.float64))
            channel /= np.float32(max(channel.std(dtype=np.float64), TINY))
        elif self.kind == "unit":
            low = channel.min()
            channel -= low
            channel /= max(channel.max(), np.float32(TINY))

    def level(self, channel: NDArray[np.float32], lengths: Sequence[float]) -> None:
        """What ``local`` does once the channel is on the planned grid, in place; nothing for other kinds.

        ``(x - m) / sqrt(v + FLAT^2)`` with m and v the Gaussian mean and variance around each voxel.

        Args:
            channel: (Z, Y, X) float32 of deviation 1.
            lengths: ``Plan.lengths``.
        """
        if self.kind != "local" or self.reach is None:
            return
        widths = [self.reach / length for length in lengths]
        mean = gaussian_filter(channel, widths, mode="nearest")
        squares = gaussian_filter(np.square(channel), widths, mode="nearest")
        channel -= mean
        channel /= np.sqrt(np.maximum(squares - np.square(mean), 0) + np.float32(FLAT**2))


def choose_normalization(
    kind: str,
    channel: int,
    name: str,
    facts: Sequence[CaseFacts],
    labeled: Sequence[CaseFacts],
    *,
    color: bool,
    reach: float,
) -> Normalization:
    """The scaling of one channel.

    ``auto`` is ``ct`` for CT (by the channel's name, or by values that reach down to air in Hounsfield units),
    ``dataset`` for color pictures, ``zscore`` for the rest.

    Args:
        kind: ``data.normalization``.
        channel: index of the channel.
        name: of the channel.
        facts: of all training cases.
        labeled: of those whose labels may be looked at; the bounds and statistics of ``ct`` are those of their
            structures (means over cases of the 0.5 and 99.5 percentiles), or of the whole images without any.
        color: the cases are color pictures.
        reach: ``data.reach``, for ``local``.
    """
    if kind == "auto":
        kind = "dataset" if color else "ct" if _is_ct(name, channel, facts) else "zscore"
    if kind == "local":
        return Normalization(kind, reach=reach)
    if kind not in ("ct", "dataset"):
        return Normalization(kind)
    inside = [case.foreground[channel] for case in labeled if case.foreground is not None]
    figures = inside if kind == "ct" and inside else [case.intensity[channel] for case in facts]
    mean, std = _pooled(figures)
    if kind == "dataset":
        return Normalization(kind, mean, std)
    low, high = (float(np.mean([figure[key] for figure in figures])) for key in ("p005", "p995"))
    return Normalization(kind, mean, std, _round(low), _round(high))


def _pooled(figures: Sequence[dict[str, float]]) -> tuple[float, float]:
    """Mean and deviation over all cases, each case counting once."""
    means = np.array([figure["mean"] for figure in figures])
    squares = np.array([figure["std"] ** 2 + figure["mean"] ** 2 for figure in figures])
    variance = max(float(squares.mean() - means.mean() ** 2), 0.0)
    return _round(float(means.mean())), max(_round(variance**0.5), TINY)


def _is_ct(name: str, channel: int, facts: Sequence[CaseFacts]) -> bool:
    words = set(re.findall(r"[a-z]+", name.lower()))
    if "ct" in words:
        return True
    if any(word.startswith("mr") for word in words):
        return False
    lowest = float(np.median([case.intensity[channel]["min"] for case in facts]))
    return -5000 < lowest <= HOUNSFIELD_AIR and all(case.geometry.dims == 3 for case in facts)


def _round(value: float) -> float:
    return float(f"{value:.6g}")
