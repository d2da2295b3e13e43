"""The field of view: where a picture shows anything at all, by its brightness or by a mask of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data import formats
from paucis.data.case import Case, Dataset, Volume
from paucis.data.formats import read_image, read_label
from paucis.data.grid import Trace, orient
from paucis.data.layouts.folders import mask_name
from paucis.data.layouts.listing import list_scans, refuse_twice
from paucis.data.options import AUTO, MASKS, field_kind
from paucis.data.preparation import resample
from paucis.errors import PaucisError

DARK = 20 / 255
"""Share of the largest intensity that some channel must exceed where a picture shows anything."""

FieldOf = Callable[[Case, Volume], "NDArray[np.bool_] | None"]
"""The field of view (Z, Y, X) of a scan as stored; None for all of it."""


def with_fields(dataset: Dataset, asked: str | None) -> Dataset:
    """The dataset whose cases know the masks of their fields of view, where ``data.field`` names a folder of them.

    Raises:
        PaucisError: no such folder, or no mask for one of the cases.
    """
    if field_kind(asked) != MASKS:
        return dataset
    found = _by_name(Path(str(asked)).expanduser(), {case.name for case in dataset.cases})
    for case in dataset.cases:
        if case.name not in found:
            raise _missing(Path(str(asked)), case.name)
    cases = tuple(dataclasses.replace(case, field=found[case.name]) for case in dataset.cases)
    return dataclasses.replace(dataset, cases=cases)


def field_reader(asked: str | None, planned: str, cases: list[Case]) -> FieldOf:
    """How prediction finds the field of view of each scan.

    Args:
        asked: ``predict.field``: ``auto``, ``none``, a folder of masks, or None for what the plan says.
        planned: ``Plan.field``.
        cases: the scans.

    Raises:
        PaucisError: the plan is of masks and none are named, no such folder, or no mask for one of the scans.
    """
    if asked is None and planned == MASKS:
        raise PaucisError(
            "the run was trained within masks of the field of view: name those of these scans by predict.field=FOLDER, "
            "or take predict.field=auto or none"
        )
    kind = field_kind(asked or planned)
    if kind == MASKS:
        folder = Path(str(asked)).expanduser()
        found = _by_name(folder, {case.name for case in cases})
        for case in cases:
            if case.name not in found:
                raise _missing(folder, case.name)
        return lambda case, volume: read_field(found[case.name], volume.array.shape[1:])
    if kind == AUTO:
        return lambda case, volume: bright(volume.array)
    return lambda case, volume: None


def stored_field(case: Case, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The field of view of a case, (Z, Y, X) bool: of its own mask, or the bright part of its image.

    Raises:
        PaucisError: as ``read_field`` and ``bright``.
    """
    return bright(read_image(case.images).array) if case.field is None else read_field(case.field, shape)


def bright(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels of which any channel exceeds 20 of 255, or that share of the largest intensity: (C, Z, Y, X) to (Z, Y, X).

    Raises:
        PaucisError: there is none, or the intensities begin below 0.
    """
    if image.size and image.min() < 0:
        raise PaucisError("holds intensities below 0, of which no field of view can be told: name masks of it")
    largest = 255 if image.dtype == np.uint8 else float(image.max(initial=0))
    found: NDArray[np.bool_] = np.asarray((image > DARK * largest).any(0))
    if not found.any():
        raise PaucisError("is dark everywhere, so that no field of view is found: leave it out, or name masks of it")
    return found


def read_field(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask of a field of view: (Z, Y, X) bool, true where it is not 0.

    Raises:
        PaucisError: unreadable, of another size than its scan, or empty.
    """
    mask: NDArray[np.bool_] = np.asarray(read_label(path).array[0] > 0)
    if mask.shape != tuple(shape):
        sizes = [" x ".join(map(str, size)) for size in (mask.shape, shape)]
        raise PaucisError(
            f"{path} has {sizes[0]} voxels (Z x Y x X) and its scan {sizes[1]}: give the mask of the scan"
        )
    if not mask.any():
        raise PaucisError(f"{path} is empty: the field of view must hold some voxels")
    return mask


def prepare_field(field: NDArray[np.bool_], trace: Trace) -> NDArray[np.bool_]:
    """A field of view as stored (Z, Y, X), on the planned grid."""
    turned = np.ascontiguousarray(orient(field, trace))
    if trace.prepared == trace.oriented:
        return turned
    prepared: NDArray[np.bool_] = resample(turned.astype(np.float32)[None], trace.prepared)[0] >= 0.5
    return prepared


def _by_name(folder: Path, names: set[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise PaucisError(f"{folder}: no such folder of masks of the field of view (or auto, or none): check the path")
    files = list_scans(folder)
    refuse_twice((formats.bare(file) for file in files), folder)
    return {mask_name(file, names): file for file in files}


def _missing(folder: Path, name: str) -> PaucisError:
    return PaucisError(
        f"{folder}: holds no mask of the field of view of '{name}' (named like it, or {name}_mask): add it"
    )
