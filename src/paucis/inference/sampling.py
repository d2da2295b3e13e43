"""Coherent samples of a whole scan: masks each of which could be true, where they differ, how their volumes spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from paucis.data.case import Geometry
from paucis.errors import PaucisError
from paucis.methods.base import Method
from paucis.uncertainty.entropy import expected_entropy, mutual_information, predictive_entropy

SAMPLES = "samples"
"""Name of the map that holds the probabilities of all samples, (S * K, Z, Y, X)."""


class Samples(Protocol):
    """A trained run, as far as samples are asked of it."""

    @property
    def method(self) -> Method: ...


class Spread(NamedTuple):
    """Volumes of one class over the samples, in mL, or in pixels where the file carries no lengths.

    Attributes:
        mean: of the samples' volumes.
        deviation: their standard deviation (divided by S - 1; NaN for one sample).
        smallest: of them.
        largest: of them.
    """

    mean: float
    deviation: float
    smallest: float
    largest: float


def check_samples(members: Sequence[Samples], number: int, dropout: int = 0) -> None:
    """Raises PaucisError when samples are asked of several runs, with dropout, or of a method that draws none."""
    if number == 0:
        return
    if dropout:
        raise PaucisError("predict.samples and predict.dropout are two ways to draw: take one of them")
    if len(members) > 1:
        raise PaucisError("predict.samples takes one run: samples of different runs have nothing that pairs them")
    method = members[0].method
    if method.code_length == 0:
        raise PaucisError(f"predict.samples={number}: method '{method.name}' draws no samples (aua does)")


def sample_codes(number: int, length: int) -> Tensor:
    """Standard normal codes (number, length), in pairs of opposite sign; the partner of the last is left out if odd.

    They are the same in every call: sample k of a scan does not depend on windows, batches, or other scans. All windows
    of a scan are given the same codes, so a structure that sample k enlarges in one window is enlarged in the next,
    and where windows overlap their probabilities are averaged as those of the mask are.
    """
    half = torch.randn((number + 1) // 2, length, generator=torch.Generator().manual_seed(0))
    return torch.cat([half, -half])[:number]


def draw(method: Method, windows: Tensor, number: int) -> Tensor:
    """Probabilities of all samples of windows (N, C, *spatial): (N, S * K, *spatial) float32."""
    codes = sample_codes(number, method.code_length).to(windows.device)
    return method.sample(windows, codes).float().transpose(0, 1).flatten(1, 2)


def uncertainty(samples: Tensor) -> dict[str, Tensor]:
    """Maps (Z, Y, X) of samples (S, K, Z, Y, X), as shares of ln K.

    ``entropy``: of the mean, all the uncertainty there is; ``expected_entropy``: mean of the samples' own;
    ``mutual_information``: their difference, how much the samples disagree.
    """
    each = samples.unsqueeze(1)
    return {
        "entropy": predictive_entropy(each, normalized=True)[0],
        "expected_entropy": expected_entropy(each, normalized=True)[0],
        "mutual_information": mutual_information(each, normalized=True)[0],
    }


class SampledVolumes:
    """Voxels of each class in each sample, summed slab by slab.

    Args:
        number: of samples.
        classes: background included.
        geometry: of the scan.
    """

    def __init__(self, number: int, classes: int, geometry: Geometry) -> None:
        self.voxel = float(np.prod(geometry.spacing)) / 1000 if geometry.physical else 1.0
        self.counts = torch.zeros(number, classes, dtype=torch.long)

    def add(self, masks: Tensor) -> None:
        """Adds a slab of class indices (S, Z, Y, X)."""
        classes = self.counts.shape[1]
        self.counts += torch.stack([torch.bincount(mask.flatten(), minlength=classes) for mask in masks]).cpu()

    def table(self) -> list[Spread]:
        """One row per class, the background first."""
        volumes: Any = self.counts.double().numpy() * self.voxel
        deviations = volumes.std(0, ddof=1) if len(volumes) > 1 else np.full(volumes.shape[1], np.nan)
        columns = (volumes.mean(0), deviations, volumes.min(0), volumes.max(0))
        return [Spread(*map(float, row)) for row in zip(*columns, strict=True)]
