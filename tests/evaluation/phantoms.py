"""Masks to measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def blob(shape: tuple[int, ...], seed: int, share: float = 0.3, smooth: float = 2.0) -> NDArray[np.bool_]:
    """A random smooth shape that fills about ``share`` of the image and touches its edge here and there."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), smooth)
    return noise > np.quantile(noise, 1 - share)


def labels(shape: tuple[int, ...], seed: int, classes: int = 3) -> NDArray[np.uint8]:
    """A label map in which every class is there."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    edges = np.quantile(noise, np.linspace(0.4, 1, classes)[:-1])
    return np.digitize(noise, edges).astype(np.uint8)


def cube(shape: tuple[int, ...], start: tuple[int, ...], size: int) -> NDArray[np.bool_]:
    """A cube of ``size`` voxels along every axis."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, first + size) for first in start)] = True
    return mask
