"""Two views of an image whose patches can be told to be the same: small changes, and a turn that is undone exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import Task
from paucis.losses.directions import unit
from paucis.options import option
from paucis.views.affine import Affine
from paucis.views.augment import rotations_in_space
from paucis.views.base import View
from paucis.views.color import Gray, Saturation
from paucis.views.compose import Compose
from paucis.views.intensity import Brightness, Contrast
from paucis.views.orientations import OrientationParams, Orientations

_PATCHES = 64
_SHOWN = 0.5


@dataclass(frozen=True)
class LocalViewOptions:
    """How the two views of an image differ, and how they are cut into patches."""

    grid: tuple[int, ...] | None = option(
        None, "patches along each axis: one number for all, or one for each; none = 8 in 2D, 4 in 3D", minimum=1
    )
    turns: bool = option(True, "whether the second view is turned by right angles")
    rotation: float = option(2.0, "largest further rotation of each view in degrees", minimum=0.0)
    brightness: float = option(0.4, "largest shift of a view's intensity, in standard deviations", minimum=0.0)
    contrast: float = option(0.4, "largest stretch of a view's contrast (0.4: factors from 1/1.4 to 1.4)", minimum=0.0)
    saturation: float = option(0.4, "likewise of color, in images of three channels", minimum=0.0)
    gray: float = option(0.2, "how often a view of three channels loses its color", minimum=0.0, maximum=1.0)


def patch_grid(task: Task, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    """Patches along each axis.

    Raises:
        ValueError: another number of axes than the task's, or more patches than voxels; one line for the user.
    """
    side = round(_PATCHES ** (1 / task.ndim))
    if asked is None:
        return tuple(min(side, size) for size in task.patch)
    grid = asked * task.ndim if len(asked) == 1 else asked
    written, patch = ",".join(map(str, asked)), "x".join(map(str, task.patch))
    if len(grid) != task.ndim:
        raise ValueError(f"method.grid={written} must be one number or {task.ndim}: the plan is {task.ndim}D")
    if any(cells > size for cells, size in zip(grid, task.patch, strict=True)):
        raise ValueError(f"method.grid={written} has more patches than the crop {patch} has voxels: ask for fewer")
    return grid


class LocalViews:
    """Draws the two views of each image, and pools vectors over the patches of a grid.

    Args:
        task: ndim, patch, spacing, channels. Images are turned only in ways that keep patch, spacing and grid.
        options: strengths.

    Raises:
        ValueError: a grid that does not fit.
    """

    def __init__(self, task: Task, options: LocalViewOptions) -> None:
        spacing = task.spacing or (1.0,) * task.ndim
        self.grid = patch_grid(task, options.grid)
        self.turning = Orientations(task.ndim, None)
        alike = list(zip(task.patch, spacing, self.grid, strict=True))
        allowed = [k for k, turn in enumerate(self.turning.turns) if [alike[axis] for axis in turn.order] == alike]
        self.allowed = torch.tensor(allowed if options.turns else [0])
        changes: list[View[Any]] = [Brightness(options.brightness), Contrast(options.contrast)]
        if options.rotation:
            changes.insert(0, Affine(rotations_in_space(spacing, options.rotation), spacing=spacing))
        if task.channels == 3:
            changes += [Saturation(options.saturation), Gray(1.0, options.gray)]
        self.changes = Compose(*changes)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, OrientationParams]:
        """Both views of images (B, C, *spatial), and how the second was turned."""
        drawn = self.allowed[torch.randint(len(self.allowed), (len(images),))]
        turns = OrientationParams(drawn)
        return self._changed(images), self.turning.image(self._changed(images), turns), turns

    def pool(self, vectors: Tensor) -> Tensor:
        """Directions of the mean vector of every patch: (B, D, *size) to (B, D, *grid), float32."""
        return unit(self._mean(vectors.float()), dim=1)

    def counted(self, valid: Tensor) -> Tensor:
        """Patches of which at least half shows an image: (B, *spatial) bool to (B, patches) bool."""
        return self._mean(valid.unsqueeze(1).float()).flatten(1) >= _SHOWN

    def _changed(self, images: Tensor) -> Tensor:
        params = self.changes.sample(len(images), images.shape[2:], torch.default_generator)
        return self.changes.image(images, params)

    def _mean(self, maps: Tensor) -> Tensor:
        pool: Any = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[maps.ndim - 4]
        pooled: Tensor = pool(maps, self.grid)
        return pooled
