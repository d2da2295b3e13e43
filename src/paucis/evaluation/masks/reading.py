"""A prediction and its label read onto one grid, as class indices, with the classes that both sides agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Geometry, Grid, Volume
from paucis.data.corners import corner_distance
from paucis.data.dicom import is_segmentation, read_masks
from paucis.data.formats import read_label
from paucis.data.layouts import name_classes
from paucis.errors import PaucisError
from paucis.evaluation.masks.finding import Masks, Pair
from paucis.evaluation.masks.values import UNKNOWN, Values, class_values, to_classes, values_in

FindValues = Callable[[Iterable[Path]], Mapping[Path, set[int]]]


@dataclass(frozen=True)
class Scheme:
    """What the raw values of both sides mean.

    Attributes:
        classes: class names, the background first.
        predicted: raw value of each class in predictions.
        labeled: raw value of each class in labels.
        unknown: raw label values of voxels that do not count.
    """

    classes: tuple[str, ...]
    predicted: Values
    labeled: Values
    unknown: frozenset[int]


@dataclass(frozen=True)
class CasePair:
    """Class indices (Z, Y, X) of a prediction and its reference, ``UNKNOWN`` where the reference does not count."""

    prediction: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    geometry: Geometry


def agree(
    predictions: Masks, labels: Masks, pairs: Sequence[Pair], classes: Sequence[str] | None, find_values: FindValues
) -> Scheme:
    """The classes of both sides: as the dataset and the predictions' manifest say, else as the masks show.

    Args:
        predictions: with raw values, where a manifest gave them.
        labels: with raw values, where a dataset gave them.
        pairs: the masks to compare; they are opened only where nobody says what values they hold.
        classes: names to use, the background first; None takes those of the dataset or the manifest.
        find_values: the values in each of these masks.

    Raises:
        PaucisError: a mask holds a value that is no class, the sides have different numbers of classes, or
            ``classes`` has another number of names.
    """
    predicted, labeled = predictions.values, labels.values
    shown = {} if predicted else find_values(pair.prediction for pair in pairs)
    if not labeled:
        held = find_values(pair.label for pair in pairs)
        labeled = class_values(held, predicted or _together(held, shown), labels=True)
    if not predicted:
        predicted = class_values(shown, labeled, labels=False)
    if len(predicted) != len(labeled):
        raise PaucisError(
            f"{predictions.root} has {len(predicted)} classes ({_listed(predicted)}) and {labels.root} has "
            f"{len(labeled)} ({_listed(labeled)}): compare masks of the same classes"
        )
    names = tuple(classes or labels.classes or predictions.classes or name_classes(labeled))
    if len(names) != len(labeled):
        raise PaucisError(
            f"classes={','.join(names)} names {len(names)} classes, the masks have {len(labeled)} "
            f"({_listed(labeled)}): name all, the background first"
        )
    return Scheme(names, predicted, labeled, labels.unknown | ({UNKNOWN} - set(labeled)))


def read_pair(pair: Pair, scheme: Scheme) -> CasePair:
    """Both masks as class indices.

    Raises:
        PaucisError: a file cannot be read, holds a value that is no class, or the two lie on different grids.
    """
    prediction, label = _read(pair)
    _same_grid(pair, prediction, label)
    return CasePair(
        to_classes(prediction.array[0], scheme.predicted, pair.prediction),
        to_classes(label.array[0], scheme.labeled, pair.label, scheme.unknown),
        label.geometry if label.geometry.physical else prediction.geometry,
    )


def _read(pair: Pair) -> tuple[Volume, Volume]:
    """Both masks; DICOM segmentations, which hold marked slices only, on the grid of the other or on one for both."""
    sparse = [is_segmentation(path) for path in (pair.prediction, pair.label)]
    if all(sparse):
        prediction, label = read_masks((pair.prediction, pair.label))
    elif sparse[0]:
        label = read_label(pair.label)
        prediction = read_label(pair.prediction, lambda: _grid(label))
    else:
        prediction = read_label(pair.prediction)
        label = read_label(pair.label, lambda: _grid(prediction))
    return prediction, label


def _grid(volume: Volume) -> Grid:
    return Grid(volume.array.shape[1:], volume.geometry)


def values_of_file(path: Path) -> set[int]:
    """The raw values in a mask.

    Raises:
        PaucisError: it cannot be read.
    """
    return values_in(read_label(path).array)


def _together(*sides: Mapping[Path, set[int]]) -> Values:
    """Values that both sides show, for masks of several classes; nothing where one class is all there is."""
    every = set().union(*(values for side in sides for values in side.values()))
    if every <= {0, 1, UNKNOWN}:
        return ()
    return class_values({Path(): every}, (), labels=True)


def _same_grid(pair: Pair, prediction: Volume, label: Volume) -> None:
    ours, theirs = prediction.array.shape[1:], label.array.shape[1:]
    remedy = "compare on the scan's own grid: predict again, or resample one of them"
    if ours != theirs:
        raise PaucisError(
            f"{pair.prediction} has {_by(ours)} voxels (Z x Y x X) but its label {pair.label} has {_by(theirs)}: "
            f"{remedy}"
        )
    if not (prediction.geometry.physical and label.geometry.physical):
        return
    apart = corner_distance(prediction.geometry, label.geometry, ours)
    allowed = min(0.1, min(label.geometry.spacing) / 10)
    if apart > allowed:
        raise PaucisError(
            f"{pair.prediction} lies up to {apart:.3g} mm away from its label {pair.label} "
            f"(allowed: {allowed:.2g} mm): {remedy}"
        )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _listed(values: Values) -> str:
    return ", ".join(map(str, values))
