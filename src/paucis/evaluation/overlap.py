"""Counts of agreement between two masks and the scores that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 22  # voxels counted at once: memory stays bounded whatever the volume


@dataclass(frozen=True)
class Overlap:
    """Agreement on one class, in voxels.

    Every score with an empty denominator is NaN: what an empty mask is worth is decided by the convention, not here.

    Attributes:
        both: voxels of prediction and reference (true positives).
        predicted: voxels of the prediction.
        reference: voxels of the reference.
        total: all voxels that count.
    """

    both: int
    predicted: int
    reference: int
    total: int

    @property
    def neither(self) -> int:
        """Voxels of neither mask (true negatives)."""
        return self.total - self.predicted - self.reference + self.both

    @property
    def dice(self) -> float:
        """2 |P and R| / (|P| + |R|)."""
        return _ratio(2 * self.both, self.predicted + self.reference)

    @property
    def jaccard(self) -> float:
        """|P and R| / |P or R|."""
        return _ratio(self.both, self.predicted + self.reference - self.both)

    @property
    def accuracy(self) -> float:
        """Share of voxels on which both agree."""
        return _ratio(self.both + self.neither, self.total)

    @property
    def precision(self) -> float:
        """Share of the prediction that is right."""
        return _ratio(self.both, self.predicted)

    @property
    def recall(self) -> float:
        """Share of the reference that was found (sensitivity)."""
        return _ratio(self.both, self.reference)

    @property
    def specificity(self) -> float:
        """Share of the reference's background that was left alone."""
        return _ratio(self.neither, self.total - self.reference)


def overlaps(
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    classes: int,
    ignore: int | None = None,
) -> list[Overlap]:
    """The agreement on every class, from one pass over the voxels.

    Args:
        prediction: class indices, 0 to ``classes - 1``, any shape.
        reference: class indices of the same shape; voxels equal to ``ignore`` are not counted.
        classes: how many classes there are, background (0) included.
        ignore: the value of the reference that marks voxels about which nothing is known.

    Returns:
        One ``Overlap`` for each class, the background first.

    Raises:
        ValueError: the shapes differ, or a value is not a class index.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} differ in shape")
    flat_prediction, flat_reference = prediction.ravel(), reference.ravel()
    table = np.zeros((classes, classes), dtype=np.int64)
    for start in range(0, flat_prediction.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        table += _agreement(flat_prediction[part], flat_reference[part], classes, ignore)
    predicted, referred, total = table.sum(axis=1), table.sum(axis=0), int(table.sum())
    return [Overlap(int(table[k, k]), int(predicted[k]), int(referred[k]), total) for k in range(classes)]


def _agreement(
    prediction: NDArray[np.integer], reference: NDArray[np.integer], classes: int, ignore: int | None
) -> NDArray[np.int64]:
    if ignore is not None:
        known = reference != ignore
        if not known.all():
            prediction, reference = prediction[known], reference[known]
    for what, values in (("prediction", prediction), ("reference", reference)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"the {what} holds values outside 0 to {classes - 1}")
    small = np.min_scalar_type(classes**2 - 1)  # a byte mostly: four times faster to count than 64 bits
    pairs = prediction.astype(small) * small.type(classes) + reference.astype(small)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
