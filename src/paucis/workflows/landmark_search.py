"""Landmarks as vectors, learnt from the images they are marked in, and looked for in others."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Case, Volume
from paucis.data.field import FieldOf, field_reader, prepare_field
from paucis.data.formats import read_image
from paucis.data.grid import Point, Shape, Trace, planned_voxel
from paucis.data.options import MASKS
from paucis.data.preparation import prepare
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.evaluation.landmarks import Peak, find_peak
from paucis.inference.similar_places import Pooling, SimilarPlaces
from paucis.inference.windows import check_channels
from paucis.methods.parts.patch_views import LocalViewOptions
from paucis.workflows.landmark_points import Given, places_in

SIGMA = 0.5
"""Of the weights around a voxel, in halves of the window, for runs of methods that do not pool over patches."""
IN_MEMORY = 2**30  # bytes of a scan's similarity maps; larger ones lie on disk


@dataclass(frozen=True)
class Support:
    """An image that landmarks are marked in: its voxels, and the points (Z, Y, X) as stored."""

    case: Case
    volume: Volume
    points: dict[str, Point]


@dataclass(frozen=True)
class Sought:
    """What images are compared with.

    Attributes:
        landmarks: their names.
        vectors: digest of their vectors.
        pooling: around each voxel.
        field: of view, as asked for or planned.
    """

    landmarks: tuple[str, ...]
    vectors: str
    pooling: Pooling
    field: str


class LandmarkSearch:
    """Looks for landmarks in scans.

    Args:
        run: whose features are compared.
        size: pooling size in voxels of the planned grid, one number or one for each axis; None is a quarter of the
            crop.
        scratch: folder for maps that are too large for memory.
        field: of view, outside of which nothing is looked for: ``auto``, ``none``, a folder of masks, or None for what
            the run's plan says.

    Raises:
        PaucisError: a size that does not fit, or no masks where the run was trained within some.
    """

    def __init__(self, run: Run, size: Sequence[int] | None, scratch: Path, field: str | None = None) -> None:
        self.run = run
        self.scratch = scratch
        if field is None and run.plan.field == MASKS:
            raise PaucisError(
                "the run was trained within masks of the field of view: name those of the queries by --field FOLDER, "
                "or take --field auto or none"
            )
        self.field = run.plan.field if field is None else field
        options = run.method.options
        sigma = options.sigma if isinstance(options, LocalViewOptions) else SIGMA
        self.pooling = Pooling(_window(run, size), sigma)
        self.places = SimilarPlaces(run.method, run.task, self.pooling, autocast=run.autocast, device=run.device)
        self.landmarks: tuple[str, ...] = ()
        self.vectors = np.zeros((0, 0), np.float32)

    @property
    def sought(self) -> Sought:
        """What the answers depend on, beside the run."""
        digest = hashlib.sha256(self.vectors.tobytes()).hexdigest()
        return Sought(self.landmarks, digest, self.pooling, self.field)

    def learn(self, cases: Sequence[Case], given: Sequence[Given]) -> list[Support]:
        """Takes each landmark's vector: the mean over the supports that it is marked in, brought to length 1.

        Raises:
            PaucisError: a support that cannot be read or has no point, a point outside, or points of several supports
                without the name of theirs.
        """
        loose = next((one for one in given if one.image is None), None)
        if len(cases) > 1 and loose is not None:
            raise PaucisError(
                f"{loose.where}: does not say in which of the {len(cases)} supports: give a .csv file with the column "
                "'image'"
            )
        supports, found = [], dict[str, list[NDArray[np.float32]]]()
        for case in cases:
            support = self._support(case, given)
            prepared, trace = self._prepared(support.volume, case.name)
            voxels = [planned_voxel(point, trace) for point in support.points.values()]
            for name, vector in zip(support.points, self.places.vectors(prepared, voxels), strict=True):
                found.setdefault(name, []).append(vector)
            supports.append(support)
        means = np.stack([np.mean(vectors, 0) for vectors in found.values()])
        self.vectors = (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        self.landmarks = tuple(found)
        return supports

    def fields(self, cases: Sequence[Case]) -> FieldOf:
        """What finds the field of view of each of these scans.

        Raises:
            PaucisError: no such folder, or no mask for one of them.
        """
        return field_reader(self.field, self.run.plan.field, list(cases))

    def peaks(self, volume: Volume, field: NDArray[np.bool_] | None = None) -> dict[str, Peak]:
        """Where each landmark is, on the planned grid.

        Args:
            volume: the scan.
            field: of view (Z, Y, X) as stored; what lies outside is like nothing.

        Raises:
            PaucisError: the scan does not fit the run.
        """
        prepared, trace = self._prepared(volume)
        apart = self.pooling.window
        if self.run.task.ndim == 2:  # a stack: the neighboring slices of a peak are no other peak
            apart = (2 * prepared.shape[1], *apart[1:])
        with tempfile.TemporaryFile(dir=self.scratch if self.scratch.is_dir() else None) as file:

            def allocate(shape: tuple[int, ...]) -> NDArray[np.float32]:
                if 4 * np.prod(shape, dtype=np.int64) <= IN_MEMORY:
                    return np.empty(shape, np.float32)
                return np.memmap(file, np.float32, "w+", shape=shape)

            maps = self.places.maps(prepared, self.vectors, allocate)
            if field is not None:
                outside = ~prepare_field(field, trace)
                for map_ in maps:
                    map_[outside] = -1.0
            return {name: find_peak(map_, apart) for name, map_ in zip(self.landmarks, maps, strict=True)}

    def _support(self, case: Case, given: Sequence[Given]) -> Support:
        volume = read_image(case.images)
        points = places_in(given, case.name, volume.array.shape[1:], volume.geometry.dims)
        if not points:
            called = sorted({str(one.image) for one in given})
            raise PaucisError(
                f"{case.images[0]}: no point is given for '{case.name}' (images: {', '.join(called[:5])})"
            )
        return Support(case, volume, points)

    def _prepared(self, volume: Volume, case: str = "") -> tuple[NDArray[np.float32], Trace]:
        try:
            check_channels(volume.array, self.run.task)
            return prepare(volume, self.run.plan)
        except PaucisError as error:
            raise PaucisError(f"{case}: {error}") if case else error from error


def _window(run: Run, size: Sequence[int] | None) -> Shape:
    """The pooling size along (Z, Y, X).

    Raises:
        PaucisError: another number of axes, or more voxels than the crop has.
    """
    patch, ndim = run.task.patch, run.task.ndim
    wanted = [max(side // 4, 1) for side in patch] if size is None else list(size)
    if len(wanted) == 1:
        wanted *= ndim
    written, crop = ",".join(map(str, size or ())), "x".join(map(str, patch))
    if len(wanted) != ndim or min(wanted) < 1:
        raise PaucisError(f"--size {written}: must be one number above 0, or {ndim}: the run is {ndim}D")
    if any(own > side for own, side in zip(wanted, patch, strict=True)):
        raise PaucisError(f"--size {written}: is larger than the run's crop {crop}, which is all it sees at once")
    z, y, x = (*(1,) * (3 - ndim), *wanted)
    return z, y, x
