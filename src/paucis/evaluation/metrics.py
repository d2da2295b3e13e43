"""All metrics of one case: two masks in, one row of figures per class out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paucis.evaluation.conventions import Convention, State, convention_of, state_of
from paucis.evaluation.overlap import Overlap, overlaps
from paucis.evaluation.surface import Mask, diagonal, surface_distances

OVERLAP = ("dice", "jaccard", "accuracy", "precision", "recall", "specificity")
DISTANCES = ("hd95", "hd", "asd", "assd")
METRICS = (*OVERLAP, "surface_dice", *DISTANCES, "volume_error", "volume_difference", "relative_volume_error")
"""Every figure of a row. ``volume_error`` is |prediction - reference|, ``volume_difference`` has the sign."""

VOLUME_UNITS = {"mm": "mL", "pixel": "pixels", "voxel": "voxels"}
"""The unit of volumes for each unit of length."""


@dataclass(frozen=True)
class Row:
    """One class of one case.

    Attributes:
        case: name of the case.
        group: its patient, or the case's name.
        label: class index, 1 for the first class after the background.
        name: class name.
        state: ``found``, ``missed``, ``spurious`` or ``absent``.
        unit: of lengths: ``mm``, ``pixel`` or ``voxel``; of volumes mL, pixels or voxels.
        volume_reference: volume of the reference.
        volume_prediction: volume of the prediction.
        scores: a figure for each of ``METRICS``; NaN is undefined and enters no mean.
    """

    case: str
    group: str
    label: int
    name: str
    state: State
    unit: str
    volume_reference: float
    volume_prediction: float
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Flat, ready for CSV and JSON; what is undefined is None."""
        flat = {
            "case": self.case,
            "group": self.group,
            "class": self.name,
            "label": self.label,
            "state": self.state,
            **{metric: None if math.isnan(value) else value for metric, value in self.scores.items()},
            "volume_reference": self.volume_reference,
            "volume_prediction": self.volume_prediction,
        }
        return {**flat, "unit": self.unit, "volume_unit": VOLUME_UNITS[self.unit]}


def case_metrics(
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    classes: Sequence[str],
    spacing: tuple[float, ...],
    tolerance_mm: float = 1.0,
    convention: str = "strict",
    *,
    ignore: int | None = 255,
    physical: bool = True,
    case: str = "",
    group: str = "",
) -> list[Row]:
    """All metrics of one case, a row for each class but the background.

    Args:
        prediction: class indices (Z, Y, X) or (Y, X); a single slice (Z = 1) is treated as 2D.
        reference: class indices of the same shape; voxels equal to ``ignore`` are not counted.
        classes: class names, the background first.
        spacing: mm per voxel, one entry for each axis of the arrays; (Y, X) arrays count as 1 mm thick.
        tolerance_mm: of the surface Dice, in mm (in voxels or pixels where lengths are).
        convention: ``strict`` or ``literature`` (``paucis.evaluation.conventions``).
        ignore: value of the reference that marks unknown voxels, or None.
        physical: False for files without a geometry: lengths and volumes are pixels or voxels then.
        case: name of the case, for the rows.
        group: its patient, for the rows; the case's name by default.

    Raises:
        PaucisError: no such convention.
        ValueError: the shapes differ, or a value is not a class index.
    """
    rule = convention_of(convention)
    counts = overlaps(prediction, reference, len(classes), ignore)
    voxel = math.prod(spacing) / 1000
    if prediction.ndim == 3 and prediction.shape[0] == 1:
        prediction, reference, spacing = prediction[0], reference[0], spacing[1:]
    unit = "mm" if physical and rule.physical else "pixel" if prediction.ndim == 2 and rule.physical else "voxel"
    if unit != "mm":
        voxel, spacing = 1.0, (1.0,) * prediction.ndim
    ignored = None if ignore is None or not (reference == ignore).any() else reference == ignore
    if ignored is not None:
        prediction, reference = np.where(ignored, 0, prediction), np.where(ignored, 0, reference)
    boxes = _boxes(prediction, reference, len(classes))
    rows = []
    for label, name in enumerate(classes[1:], start=1):
        overlap = counts[label]
        state = state_of(overlap.predicted, overlap.reference)
        scores = _scores(overlap, state, rule, voxel)
        if state == "found":
            part = boxes[label]
            masks = prediction[part] == label, reference[part] == label
            scores |= _distances(*masks, spacing, tolerance_mm, None if ignored is None else ignored[part])
        elif state != "absent" and rule.penalty:
            scores |= dict.fromkeys(DISTANCES, diagonal(prediction.shape, spacing))
        volumes = (overlap.reference * voxel, overlap.predicted * voxel)
        rows.append(Row(case, group or case, label, name, state, unit, *volumes, scores))
    return rows


def _distances(
    prediction: Mask, reference: Mask, spacing: tuple[float, ...], tolerance: float, ignored: Mask | None
) -> dict[str, float]:
    found = surface_distances(prediction, reference, spacing, ignored)
    return {
        **{metric: getattr(found, metric) for metric in DISTANCES},
        "surface_dice": found.surface_dice(tolerance),
    }


def _scores(overlap: Overlap, state: State, rule: Convention, voxel: float) -> dict[str, float]:
    """Everything but the distances of a class that was found."""
    if state == "absent" and not rule.absent:
        return dict.fromkeys(METRICS, math.nan)
    scores = {metric: float(getattr(overlap, metric)) for metric in OVERLAP}
    if state != "found":
        scores |= dict.fromkeys(("dice", "jaccard", "precision", "recall"), 0.0)
    scores |= dict.fromkeys(("surface_dice", *DISTANCES), 0.0)
    difference = overlap.predicted - overlap.reference
    scores["volume_error"] = abs(difference) * voxel
    scores["volume_difference"] = difference * voxel
    scores["relative_volume_error"] = abs(difference) / overlap.reference if overlap.reference else math.nan
    return scores


def _boxes(
    prediction: NDArray[np.integer], reference: NDArray[np.integer], classes: int
) -> dict[int, tuple[slice, ...]]:
    """For each class in both masks, the box around both, one voxel wider (an ignored neighbor must be seen)."""
    found = [ndimage.find_objects(mask, max_label=classes - 1) for mask in (prediction, reference)]
    boxes = {}
    for label, pair in enumerate(zip(*found, strict=True), start=1):
        if pair[0] is not None and pair[1] is not None:
            boxes[label] = tuple(
                slice(max(min(a.start, b.start) - 1, 0), max(a.stop, b.stop) + 1) for a, b in zip(*pair, strict=True)
            )
    return boxes
