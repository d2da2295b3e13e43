"""Time of the surface metrics here and in MedPy, on left-atrium-like masks; the values must be equal.

    python benchmarks/surface_metrics.py

Takes real left atria where PAUCIS_TEST_DATA points at them, else generated ones of the same size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import medpy.metric.binary as medpy
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paucis.data.formats import read_label
from paucis.evaluation.surface import surface_distances

METRICS = ("hd95", "hd", "asd", "assd")
CASES = 5
SHAPE = (88, 140, 182)  # voxels of a cropped atrium at 0.625 mm
SPACING = (0.625, 0.625, 0.625)


def main() -> None:
    """Print a line for each mask and the ratio over all."""
    ours = theirs = 0.0
    print(f"{'mask':34s} {'voxels':>15s} {'MedPy':>9s} {'paucis':>9s} {'ratio':>7s}")
    for name, reference in references():
        prediction = perturbed(reference)
        slow, expected = timed(lambda p=prediction, r=reference: [getattr(medpy, m)(p, r, SPACING) for m in METRICS])
        fast, found = timed(lambda p=prediction, r=reference: ours_of(p, r))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        size = "x".join(map(str, reference.shape))
        print(f"{name:34s} {size:>15s} {slow:8.3f}s {fast:8.3f}s {slow / fast:6.1f}x")
        ours, theirs = ours + fast, theirs + slow
    print(f"\n{', '.join(METRICS)} of equal value (1e-6); paucis takes 1/{theirs / ours:.1f} of MedPy's time")


def references() -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Masks of left atria, or ellipsoids with veins."""
    folder = Path(os.environ.get("PAUCIS_TEST_DATA", "")) / "la_half" / "labelsTr"
    files = sorted(folder.glob("*.nii.gz"))[:CASES] if "PAUCIS_TEST_DATA" in os.environ else []
    for file in files:
        half = read_label(file).array[0] > 0  # at half resolution
        yield file.name.split(".")[0], half.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    for seed in range(0 if files else CASES):
        yield f"generated {seed}", atrium(seed)


def atrium(seed: int) -> NDArray[np.bool_]:
    """An ellipsoid with four tubes, its boundary roughened."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    rng = np.random.default_rng(seed)
    inside = 1 - (z / 0.6) ** 2 - (y / 0.45) ** 2 - (x / 0.5) ** 2
    for side in (-1, 1):
        for height in (-0.25, 0.25):
            tube = 1 - ((z - height) / 0.12) ** 2 - ((y - 0.1 * side) / 0.12) ** 2
            inside = np.where((side * x > 0) & (abs(x) < 0.85), np.maximum(inside, tube), inside)
    return inside + 0.3 * _noise(rng, SHAPE) > 0


def perturbed(mask: NDArray[np.bool_], voxels: float = 3.0) -> NDArray[np.bool_]:
    """The mask with its boundary moved at random, and a stray piece."""
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    moved = distance + voxels * _noise(np.random.default_rng(0), mask.shape) > 0
    moved[4:8, 4:8, 4:8] = True
    return moved


def ours_of(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> list[float]:
    """All metrics, from one pass."""
    found = surface_distances(prediction, reference, SPACING)
    return [getattr(found, metric) for metric in METRICS]


def timed(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Seconds (the best of two) and result."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return smooth / smooth.std()


if __name__ == "__main__":
    main()
