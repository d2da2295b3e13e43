"""Two views of an image whose patches can be told to be the same: small changes, and a turn that is undone exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import Task
from paucis.losses.directions import unit
from paucis.networks.window_pooling import cell_means
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
    grids: tuple[int, ...] | None = option(
        None,
        "multi-size pooling: patches along each axis, of which every step takes one number; in place of grid, and "
        "none = grid alone",
        minimum=1,
    )
    sigma: float | None = option(
        None,
        "center-sensitive averaging: width of a patch's Gaussian weights in halves of the patch, 0.5 in the paper; "
        "none = all voxels alike",
        minimum=0.05,
    )
    turns: bool = option(True, "whether the second view is turned by right angles")
    rotation: float = option(2.0, "largest further rotation of each view in degrees", minimum=0.0)
    brightness: float = option(0.4, "largest shift of a view's intensity, in standard deviations", minimum=0.0)
    contrast: float = option(0.4, "largest stretch of a view's contrast (0.4: factors from 1/1.4 to 1.4)", minimum=0.0)
    saturation: float = option(0.4, "likewise of color, in images of three channels", minimum=0.0)
    gray: float = option(0.2, "how often a view of three channels loses its color", minimum=0.0, maximum=1.0)


def patch_grids(task: Task, options: LocalViewOptions) -> tuple[tuple[int, ...], ...]:
    """The grids that steps choose from: that of ``grids``, or the one of ``grid``.

    Raises:
        ValueError: as ``patch_grid``.
    """
    if not options.grids:
        return (patch_grid(task, options.grid),)
    return tuple(patch_grid(task, (cells,), "grids") for cells in options.grids)


def patch_grid(task: Task, asked: tuple[int, ...] | None, option: str = "grid") -> tuple[int, ...]:
    """Patches along each axis.

    Args:
        task: ndim, patch.
        asked: as the option says; None takes the default.
        option: what it is called in messages.

    Raises:
        ValueError: another number of axes than the task's, or more patches than voxels; one line for the user.
    """
    side = round(_PATCHES ** (1 / task.ndim))
    if asked is None:
        return tuple(min(side, size) for size in task.patch)
    grid = asked * task.ndim if len(asked) == 1 else asked
    written, patch = ",".join(map(str, asked)), "x".join(map(str, task.patch))
    if len(grid) != task.ndim:
        raise ValueError(f"method.{option}={written} must be one number or {task.ndim}: the plan is {task.ndim}D")
    if any(cells > size for cells, size in zip(grid, task.patch, strict=True)):
        raise ValueError(f"method.{option}={written} has more patches than the crop {patch} has voxels: ask for fewer")
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
        self.grids = patch_grids(task, options)
        self.grid = self.grids[0]
        self.sigma = options.sigma
        self.turning = Orientations(task.ndim, None)
        alike = list(zip(task.patch, spacing, *self.grids, strict=True))
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

    def drawn(self, step: int) -> tuple[int, ...]:
        """The grid of a step: by lot, and the same in every process, which compare their patches."""
        lot = torch.Generator().manual_seed(step)
        return self.grids[int(torch.randint(len(self.grids), (), generator=lot))]

    def pool(self, vectors: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Directions of the mean vector of every patch: (B, D, *size) to (B, D, *grid), float32.

        Patches are cut alike from all sides, and weighted symmetrically: a turned image has the turned patches.
        """
        grid = grid or self.grid
        if self.sigma is None:
            return unit(_mean(vectors.float(), grid), dim=1)
        return unit(cell_means(vectors, grid, self.sigma), dim=1)

    def counted(self, valid: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Patches of which at least half shows an image: (B, *spatial) bool to (B, patches) bool."""
        return _mean(valid.unsqueeze(1).float(), grid or self.grid).flatten(1) >= _SHOWN

    def _changed(self, images: Tensor) -> Tensor:
        params = self.changes.sample(len(images), images.shape[2:], torch.default_generator)
        return self.changes.image(images, params)


def _mean(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    pool: Any = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[maps.ndim - 4]
    pooled: Tensor = pool(maps, grid)
    return pooled
