"""Distances between the surfaces of two masks, all metrics from one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]

_SPARSE = 16  # voxels of the box for each surface voxel, above which a tree of these is faster than a transform of all


class SurfaceDistances(NamedTuple):
    """How far each surface voxel of one mask lies from the nearest surface voxel of the other.

    Attributes:
        to_reference: one distance for each surface voxel of the prediction.
        to_prediction: one distance for each surface voxel of the reference.
    """

    to_reference: NDArray[np.float64]
    to_prediction: NDArray[np.float64]

    @property
    def pooled(self) -> NDArray[np.float64]:
        """Both sets together."""
        return np.concatenate(self)

    @property
    def hd(self) -> float:
        """Hausdorff distance: the largest of all."""
        return float(self.pooled.max())

    @property
    def hd95(self) -> float:
        """95th percentile of the pooled distances, interpolated linearly.

        *Deviations*: some programs take the larger of the two directed percentiles; the semi-supervised literature
        pools, and so does this.
        """
        return float(np.percentile(self.pooled, 95))

    @property
    def asd(self) -> float:
        """Mean distance from the prediction's surface to the reference's: directed, as the literature reports it."""
        return float(self.to_reference.mean())

    @property
    def assd(self) -> float:
        """Mean of the pooled distances (symmetric)."""
        return float(self.pooled.mean())

    def surface_dice(self, tolerance: float) -> float:
        """Share of all surface voxels that lie within ``tolerance`` of the other surface.

        After Nikolov et al., *Clinically applicable segmentation of head and neck anatomy*, JMIR 2021.
        *Deviations*: surface voxels count alike; the paper weights them by the area of the surface inside them.
        """
        within = self.pooled <= tolerance * (1 + 1e-9) + 1e-9  # a distance of exactly the tolerance is within it
        return float(within.mean())


def surface(mask: Mask, ignored: Mask | None = None) -> Mask:
    """The voxels of ``mask`` with a face on its outside (6 neighbors in 3D, 4 in 2D).

    The edge of the array is outside, as in MedPy. A cut along ``ignored`` voxels is no surface, unless the mask would
    have none at all.

    Args:
        mask: (Z, Y, X) or (Y, X).
        ignored: voxels about which nothing is known, of the same shape.
    """
    if ignored is None:
        inner: Mask = ndimage.binary_erosion(mask)
        return mask & ~inner
    uncut: Mask = mask & ~ndimage.binary_erosion(mask | ignored)
    return uncut if uncut.any() else surface(mask)


def surface_distances(
    prediction: Mask, reference: Mask, spacing: tuple[float, ...], ignored: Mask | None = None
) -> SurfaceDistances:
    """The distances between two surfaces, both ways.

    Both masks are cut to the box around their union (nothing outside it is nearer). The nearest surface voxel is found
    by a k-d tree, or by a feature transform of the box where much of it is surface; both are exact, and distances are
    computed at surface voxels only.

    Args:
        prediction: (Z, Y, X) or (Y, X), not empty.
        reference: of the same shape, not empty.
        spacing: mm per voxel of each axis; ones give voxels.
        ignored: voxels about which nothing is known; they must be in neither mask.

    Raises:
        ValueError: a mask is empty, or the shapes differ.
    """
    if prediction.shape != reference.shape or len(spacing) != prediction.ndim:
        raise ValueError(f"{prediction.shape}, {reference.shape} and spacing {spacing} do not belong together")
    if not prediction.any() or not reference.any():
        raise ValueError("an empty mask has no surface")
    box = ndimage.find_objects((prediction | reference).view(np.uint8))[0]
    if ignored is not None:
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)  # an ignored neighbor must be seen
        ignored = ignored[box]
    predicted, referred = surface(prediction[box], ignored), surface(reference[box], ignored)
    return SurfaceDistances(_nearest(predicted, referred, spacing), _nearest(referred, predicted, spacing))


def diagonal(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Length of the diagonal of an image, in the unit of ``spacing``: the worst that a distance in it can be."""
    return float(np.sqrt(sum((size * step) ** 2 for size, step in zip(shape, spacing, strict=True))))


def _nearest(start: Mask, goal: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    if (np.count_nonzero(start) + np.count_nonzero(goal)) * _SPARSE < start.size:
        tree = KDTree(np.argwhere(goal) * spacing, balanced_tree=False)
        near: NDArray[np.float64] = tree.query(np.argwhere(start) * spacing)[0]
        return near
    feature = ndimage.distance_transform_edt(~goal, sampling=spacing, return_distances=False, return_indices=True)
    points = np.nonzero(start)
    squares = np.zeros(len(points[0]))
    for axis, step in enumerate(spacing):
        squares += ((feature[axis][points] - points[axis]) * step) ** 2
    return np.sqrt(squares)
