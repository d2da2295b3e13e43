"""What every case of a dataset is turned into before training: a readable JSON that may be edited.

The plan follows rules of thumb in the spirit of nnU-Net's (Isensee et al., Nature Methods 2021): median spacing,
patches with the aspect of the median case, axes halved while they are long enough.

*Deviations* from nnU-Net: one plan instead of several that compete; stacks of few thick slices are planned as 2D
slices; networks have at most five levels; no cropping to nonzero voxels.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paucis.batch import Task
from paucis.data.case import Dataset, Geometry
from paucis.data.facts import CaseFacts
from paucis.data.grid import Trace, trace_of
from paucis.data.intensity import Normalization, choose_normalization
from paucis.data.layouts.description import ignored
from paucis.data.options import DataOptions, field_kind
from paucis.data.patching import plan_batch, plan_flips
from paucis.data.planning import (
    choose_grid,
    choose_ndim,
    choose_patch,
    choose_slice_axis,
    directions,
    is_physical,
    median_shape,
    trace_case,
)
from paucis.errors import PaucisError
from paucis.files import write_text

BUDGET = 96**3
PREPARATION = 1
"""Raised whenever ``paucis.data.preparation`` would turn the same plan and scan into other numbers."""


@dataclass(frozen=True)
class Plan:
    """How scans become the arrays a network sees.

    Attributes:
        ndim: 2 (pictures, or slices of volumes) or 3.
        channels: names of the image channels.
        classes: class names, background first.
        values: raw mask value of each class.
        orientation: ``LPS``: volumes are turned so that (Z, Y, X) run to superior, posterior, left; ``stored``: as
            they lie in the file.
        slice_axis: 2D plans of volumes: the oriented axis that comes first and along which slices are taken, for scans
            without a clearly coarser axis of their own; 0 for pictures; None in 3D.
        spacing: mm per voxel of the planned grid, ``ndim`` entries; None where ``size`` fixes the grid.
        size: (Y, X) of the planned grid; None where ``spacing`` does.
        normalization: one per channel.
        median_shape: (Z, Y, X) of the median case on the planned grid, for information.
        patch: voxels of a training crop, ``ndim`` entries.
        strides: down-sampling factor of each network level, the finest (ones) first.
        batch_size: crops a step.
        flips: axes of the patch along which a mirrored image is still a possible one.
        ignore: raw mask values of voxels about which nothing is said: no loss and no metric counts them.
        field: field of view of the scans: ``none``, ``auto`` (by brightness) or ``masks`` (``paucis.data.field``).
    """

    ndim: int
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[int, ...]
    orientation: str
    slice_axis: int | None
    spacing: tuple[float, ...] | None
    size: tuple[int, ...] | None
    normalization: tuple[Normalization, ...]
    median_shape: tuple[int, ...]
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    batch_size: int
    flips: tuple[int, ...]
    ignore: tuple[int, ...] = ()
    field: str = "none"

    @property
    def multiple(self) -> tuple[int, ...]:
        """What the strides divide each axis of a patch by."""
        return tuple(math.prod(level[axis] for level in self.strides) for axis in range(self.ndim))

    @property
    def lengths(self) -> tuple[float, float, float]:
        """A voxel along (Z, Y, X) in lengths of its shortest side; infinitely long across the slices of a 2D plan."""
        sides = self.spacing or (1.0,) * self.ndim
        z, y, x = (*(math.inf,) * (3 - self.ndim), *(side / min(sides) for side in sides))
        return z, y, x

    @property
    def window(self) -> tuple[int, int, int]:
        """The patch as (Z, Y, X): one slice in 2D."""
        z, y, x = (1, *self.patch)[-3:]
        return z, y, x

    def task(self) -> Task:
        """What networks and methods may know."""
        return Task(
            ndim=self.ndim,
            channels=len(self.channels),
            classes=len(self.classes),
            patch=self.patch,
            spacing=self.spacing or (1.0,) * self.ndim,
            strides=self.strides,
            flips=self.flips,
        )

    def trace(self, geometry: Geometry, shape: tuple[int, ...]) -> Trace:
        """Where the voxels of a scan of this geometry and shape (Z, Y, X) go."""
        return trace_of(
            geometry,
            shape,
            orient=self.orientation == "LPS",
            slice_axis=self.slice_axis,
            spacing=self.spacing,
            size=self.size,
        )

    def image_key(self) -> str:
        """Digest of what decides on the numbers of a prepared image, and of nothing else."""
        return _digest([PREPARATION, *self._grid(), [asdict(channel) for channel in self.normalization]])

    def label_key(self) -> str:
        """Digest of what decides on a prepared label."""
        return _digest([PREPARATION, *self._grid(), self.values, self.ignore])

    def to_json(self) -> str:
        """One line per entry, for reading and editing; ``paucis.data.planfile`` reads it back."""
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in asdict(self).items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def save(self, path: Path) -> None:
        """Writes the plan as JSON."""
        write_text(path, self.to_json())

    def field_key(self) -> str:
        """Digest of what decides on a prepared field of view."""
        return _digest([PREPARATION, *self._grid(), self.field])

    def _grid(self) -> list[Any]:
        return [self.orientation, self.slice_axis, self.spacing, self.size]


def make_plan(
    dataset: Dataset, facts: Mapping[str, CaseFacts], options: DataOptions, budget_voxels: int = BUDGET
) -> Plan:
    """Plans a dataset from all its training cases, labeled and unlabeled.

    Args:
        dataset: the training part (``paucis.data.split.training_part``): what is known of a label counts only where
            the case still has it.
        facts: by case name; cases without facts do not count.
        options: ``data.*``.
        budget_voxels: voxels of a batch, and at most of a 3D patch; about 96^3 for a GPU, 64^3 for a CPU.

    Raises:
        PaucisError: no training case, or options that the cases do not allow.
    """
    known = [facts[case.name] for case in dataset.cases if case.name in facts]
    if not known:
        raise PaucisError(f"{dataset.root}: no training case to plan from")
    labeled = [facts[case.name] for case in dataset.cases if case.label is not None and case.name in facts]
    pictures = all(case.geometry.dims == 2 for case in known)
    color = pictures and len(dataset.channels) == 3
    ndim = choose_ndim(known, options)
    slice_axis = choose_slice_axis(known) if ndim == 2 else None
    spacing, size = choose_grid(known, options, ndim, slice_axis)
    shape = median_shape([trace_case(case, slice_axis, spacing, size).prepared for case in known])
    patch, strides = choose_patch(
        shape[-ndim:], spacing or (1.0,) * ndim, options, budget_voxels, whole=size is not None
    )
    return Plan(
        ndim=ndim,
        channels=dataset.channels,
        classes=dataset.classes,
        values=dataset.values,
        orientation="LPS" if any(is_physical(case) for case in known) else "stored",
        slice_axis=slice_axis,
        spacing=spacing,
        size=size,
        normalization=tuple(
            choose_normalization(options.normalization, index, name, known, labeled, color=color, reach=options.reach)
            for index, name in enumerate(dataset.channels)
        ),
        median_shape=shape,
        patch=patch,
        strides=strides,
        batch_size=plan_batch(patch, budget_voxels),
        flips=plan_flips(options.flips, dataset.classes, directions(known, slice_axis), upright=pictures and not color),
        ignore=tuple(sorted(ignored(dataset))),
        field=field_kind(options.field),
    )


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=10).hexdigest()
