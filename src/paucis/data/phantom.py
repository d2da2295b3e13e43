"""A made-up abdomen: organs that differ from patient to patient, with texture, bias field and blurred boundaries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]


class Organ(NamedTuple):
    """An ellipsoid before deformation, in shares of the volume's extent: center and radii (z, y, x), intensity."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    intensity: float


BODY = Organ((0.5, 0.5, 0.5), (0.75, 0.40, 0.45), 0.35)
ORGANS = {
    "liver": Organ((0.55, 0.42, 0.33), (0.28, 0.20, 0.20), 0.58),
    "spleen": Organ((0.58, 0.56, 0.76), (0.18, 0.13, 0.09), 0.66),
    "left_kidney": Organ((0.36, 0.64, 0.66), (0.17, 0.09, 0.08), 0.78),
    "right_kidney": Organ((0.34, 0.64, 0.34), (0.17, 0.09, 0.08), 0.78),
}
SPINE = Organ((0.5, 0.76, 0.5), (0.9, 0.07, 0.07), 0.95)


def phantom(shape: tuple[int, int, int], seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """One patient.

    Args:
        shape: voxels (Z, Y, X).
        seed: of the anatomy and of the scanner's noise.

    Returns:
        image (Z, Y, X) int16 and labels (Z, Y, X) uint8, 0 the background, 1.. in the order of ``ORGANS``.
    """
    rng = np.random.default_rng(seed)
    grid = _deformed_grid(shape, rng)
    image = np.where(_inside(BODY, grid, rng, vary=0.04), np.float32(BODY.intensity), np.float32(0.05))
    image = np.where(_inside(SPINE, grid, rng, vary=0.02), np.float32(SPINE.intensity), image)
    labels = np.zeros(shape, np.uint8)
    for index, organ in enumerate(ORGANS.values(), start=1):
        inside = _inside(organ, grid, rng, vary=0.15) & (labels == 0)
        labels[inside] = index
        image[inside] = organ.intensity * rng.normal(1.0, 0.06)
    image += 0.05 * _smooth_noise(shape, 1.5, rng) + 0.06 * _smooth_noise(shape, 5.0, rng) * (image > 0.2)
    image = ndimage.gaussian_filter(image, 0.9)
    image *= 1.0 + 0.25 * _smooth_noise(shape, max(shape) / 4, rng)
    image += rng.normal(0.0, 0.035, shape).astype(np.float32)
    return np.round(1000.0 * image * rng.uniform(0.7, 1.4)).astype(np.int16), labels


def _deformed_grid(shape: tuple[int, int, int], rng: np.random.Generator) -> list[Array]:
    axes = [(np.arange(size, dtype=np.float32) + 0.5) / size for size in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    return [axis + np.float32(0.035) * _smooth_noise(shape, max(shape) / 7, rng) for axis in grid]


def _inside(organ: Organ, grid: list[Array], rng: np.random.Generator, vary: float) -> NDArray[np.bool_]:
    center = np.asarray(organ.center) + rng.normal(0.0, 0.2 * vary, 3)
    radii = np.asarray(organ.radii) * (1.0 + rng.uniform(-vary, vary, 3))
    terms = ((axis - c) / r for axis, c, r in zip(grid, center, radii, strict=True))
    distance: Array = np.sum([np.square(term) for term in terms], axis=0)
    return distance <= 1.0


def _smooth_noise(shape: tuple[int, int, int], sigma: float, rng: np.random.Generator) -> Array:
    """Noise of unit deviation, correlated over ``sigma`` voxels; made on a coarse grid where it is smooth."""
    step = max(1, int(sigma / 2))
    coarse = tuple(-(-size // step) + 1 for size in shape)
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse).astype(np.float32), sigma / step)
    zoomed = ndimage.zoom(noise, [size / have for size, have in zip(shape, coarse, strict=True)], order=1)
    return np.asarray(zoomed / max(float(zoomed.std()), 1e-6), np.float32)
