"""Similarity: which pixels of an image a run takes to be like a given one, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Case
from paucis.data.formats import read_image
from paucis.data.grid import Trace, planned_voxel
from paucis.data.layouts import scans as find_scans
from paucis.data.preparation import prepare
from paucis.engine.runs import Run, open_run
from paucis.errors import PaucisError
from paucis.evaluation.features.similarity import cosine, draw_similarity
from paucis.evaluation.pictures.slices import picture_of
from paucis.inference.embedding import embed_voxels
from paucis.inference.windows import check_channels


@dataclass(frozen=True)
class Similar:
    """What was drawn.

    Attributes:
        picture: the PNG.
        voxel: (Z, Y, X) of the planned grid that the others are compared with.
        shape: (Y, X) of the slice that is shown, on the planned grid.
        clusters: clusters that the slice has voxels of; 0 for a run without a clustering.
        map: (Y, X) cosines.
    """

    picture: Path
    voxel: tuple[int, int, int]
    shape: tuple[int, int]
    clusters: int
    map: NDArray[np.float32]


def similarity(
    run: str | Path,
    image: str | Path,
    *,
    point: Sequence[int],
    out: str | Path,
    device: str = "auto",
    weights: str | None = None,
) -> Similar:
    """Draws the cosine between the feature of one pixel and those of all others, on the planned grid.

    Of a volume the slice through the voxel is shown: the plan's slices in 2D, else along the first planned axis. A run
    with a clustering of its own (``ld``) gets a third panel with the likeliest cluster of every pixel.

    Args:
        run: run folder.
        image: a scan.
        point: the voxel as stored, counted from 0: Y,X of a picture, Z,Y,X of a volume.
        out: the picture, ``.png``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights: ``best`` or ``last``; None takes the best where validation chose one.

    Raises:
        PaucisError: not one scan, a point outside it, a picture that is no PNG, or not a run.
    """
    picture = Path(out)
    if picture.suffix.lower() != ".png" or picture.is_dir():
        raise PaucisError(f"{picture}: the picture must be a .png file: choose another --out")
    opened = open_run(run, device, weights)
    case = one_scan(Path(image), opened)
    volume = read_image(case.images)
    try:
        voxel = _voxel(point, volume.array.shape[1:], volume.geometry.dims)
        check_channels(volume.array, opened.task)
        prepared, trace = prepare(volume, opened.plan)
    except PaucisError as error:
        raise PaucisError(f"{case.name}: {error}") from error
    place = planned_voxel(voxel, trace)
    vectors = _slice(opened, prepared, place[0], opened.method.embed)
    similar = cosine(vectors, vectors[place[1], place[2]])
    clusters = None
    if getattr(opened.method, "clustering", None) is not None:
        clusters = _slice(opened, prepared, place[0], opened.method.cluster).argmax(-1)  # type: ignore[operator]
    draw_similarity(
        picture,
        _shown(prepared[:, place[0]]),
        similar,
        (place[1], place[2]),
        clusters=clusters,
        aspect=_aspect(trace),
        title=f"{opened.config.method}, {case.name}, {','.join(map(str, point))}",
    )
    shape = (int(similar.shape[0]), int(similar.shape[1]))
    return Similar(picture, place, shape, 0 if clusters is None else len(np.unique(clusters)), similar)


def one_scan(image: Path, run: Run) -> Case:
    """The scan at a place.

    Raises:
        PaucisError: nothing readable there, or several scans.
    """
    cases = find_scans(image, run.task.channels)
    if len(cases) != 1:
        raise PaucisError(f"{image}: holds {len(cases)} scans: name one of them")
    return cases[0]


def _voxel(point: Sequence[int], shape: Sequence[int], dims: int) -> tuple[int, ...]:
    written, wanted = ",".join(map(str, point)), "Y,X" if dims == 2 else "Z,Y,X"
    if len(point) != dims:
        raise PaucisError(f"--point {written} must be {wanted} of this scan")
    voxel = (*(0,) * (3 - dims), *point)
    if any(not 0 <= place < size for place, size in zip(voxel, shape, strict=True)):
        last = ",".join(str(size - 1) for size in shape[-dims:])
        raise PaucisError(f"--point {written} lies outside: {wanted} run from 0 to {last}")
    return voxel


def _slice(run: Run, image: NDArray[np.float32], z: int, maps: Any) -> NDArray[np.float32]:
    """Maps (Y, X, D) of a slice of the planned grid."""
    rows, columns = image.shape[2:]
    grid = np.stack(np.meshgrid(np.array([z]), np.arange(rows), np.arange(columns), indexing="ij"), -1)
    found = embed_voxels(
        image, grid.reshape(-1, 3), run.method, run.task, autocast=run.autocast, device=run.device, maps=maps
    )
    return found.reshape(rows, columns, -1)


def _shown(slice_: NDArray[np.float32]) -> NDArray[np.float32]:
    """A prepared slice (C, Y, X) as a picture in [0, 1]: color where it has three channels."""
    if len(slice_) != 3:
        gray = picture_of(slice_)
        assert gray is not None
        return gray
    low, high = np.percentile(slice_, 0.5), np.percentile(slice_, 99.5)
    color: NDArray[np.float32] = np.clip((np.moveaxis(slice_, 0, -1) - low) / max(high - low, 1e-12), 0, 1)
    return color


def _aspect(trace: Trace) -> float:
    """Height of a pixel of the planned slice over its width."""
    if not trace.geometry.physical:
        return 1.0
    mm = [
        trace.geometry.spacing[stored] * old / new
        for stored, old, new in zip(trace.axes, trace.oriented, trace.prepared, strict=True)
    ]
    return mm[1] / mm[2]
