"""Looks at a scan that are undone exactly: mirrored, turned, with another brightness, contrast and color."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paucis.batch import Task
from paucis.methods.parts.patch_views import LocalViewOptions, LocalViews
from paucis.views.base import View
from paucis.views.color import Gray, Saturation
from paucis.views.compose import Compose
from paucis.views.flip import Flip
from paucis.views.intensity import Brightness, Contrast
from paucis.views.orientations import OrientationParams


class LabelView:
    """One look, the same for every window.

    Args:
        task: the task.
        options: how strong; ``turns`` off leaves images upright.
        generator: what is drawn comes from it.
    """

    def __init__(self, task: Task, options: LocalViewOptions, generator: torch.Generator) -> None:
        allowed = LocalViews(task, options).allowed
        self.turning = LocalViews(task, options).turning
        self.turn = allowed[torch.randint(len(allowed), (1,), generator=generator)]
        changes: list[View[Any]] = [Flip(task.flips)]
        changes += [Brightness(options.brightness), Contrast(options.contrast)]
        if task.channels == 3:
            changes += [Saturation(options.saturation), Gray(1.0, options.gray)]
        self.changes = Compose(*changes)
        self.params = self.changes.sample(1, task.patch, generator)

    def image(self, images: Tensor) -> Tensor:
        """The look at windows (B, C, *spatial)."""
        changed = torch.cat([self.changes.image(image.unsqueeze(0), self.params) for image in images])
        return self.turning.image(changed, self._turns(images))

    def invert(self, maps: Tensor) -> Tensor:
        """Maps of the look (B, k, *spatial), back in the windows' geometry."""
        back = self.turning.invert(maps, self._turns(maps))
        return torch.cat([self.changes.invert(each.unsqueeze(0), self.params) for each in back])

    def _turns(self, images: Tensor) -> OrientationParams:
        return OrientationParams(self.turn.expand(len(images)))
