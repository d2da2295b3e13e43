"""Telling how an image was turned: the views, the head on the encoder's deepest map, and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import Literal

import torch
from torch import Tensor, nn

from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.equivariant import equivariance_loss
from paucis.networks.base import Site
from paucis.options import option
from paucis.views.orientations import OrientationParams, Orientations


@dataclass(frozen=True)
class TurnOptions:
    """Which turns."""

    rotations: Literal["one", "all"] = option("one", "turns of an image in a step: one drawn at random, or every one")
    orientations: Literal["plane", "all"] = option(
        "plane", "turns there are: the four of one plane, or in 3D all 24 of space"
    )
    plane: tuple[int, int] = option((-2, -1), "the two axes of that plane; -1 is the last")


@dataclass(frozen=True)
class TurningOptions(TurnOptions):
    """Which turns, and of what."""

    turned: Literal["auto", "batch", "copies"] = option(
        "auto",
        "what is turned: the batch itself with its labels, or square copies that only the encoder sees; auto = the "
        "batch where its sides are equal and one turn is drawn",
    )


def problems(task: Task, options: TurnOptions) -> list[str]:
    """What cannot be turned as the options ask, one line each."""
    one, two = options.plane
    if not all(-task.ndim <= axis < task.ndim for axis in options.plane) or (one - two) % task.ndim == 0:
        return [f"method.plane={one},{two} must name two different axes from {-task.ndim} to {task.ndim - 1}"]
    if not isinstance(options, TurningOptions):
        return []
    views, found = _views(task, options), []
    if options.turned == "batch" and options.rotations == "all":
        found.append("method.turned=batch turns each image once: choose method.rotations=one or method.turned=copies")
    if options.turned == "batch" and not _equal(task, views):
        patch = "x".join(map(str, task.patch))
        found.append(
            f"method.turned=batch needs equal sides of the patch {patch} along the turned axes: choose "
            "method.turned=copies, or change data.patch"
        )
    return found


class Turning(nn.Module):
    """Turns images and predicts their turn from the encoder's deepest map: mean over the map, dropout, one layer.

    Args:
        task: ndim and patch.
        deepest: site of the encoder's deepest map.
        multiple: every axis of an image must be a multiple of this.
        options: those that are no ``TurningOptions`` turn square copies alone.

    Raises:
        PaucisError: a plane that does not exist, or a patch too small for a square copy.
    """

    def __init__(self, task: Task, deepest: Site, multiple: tuple[int, ...], options: TurnOptions) -> None:
        super().__init__()
        found = problems(task, options)
        if found:
            raise PaucisError(found[0])
        self.options, self.views = options, _views(task, options)
        self.whole = isinstance(options, TurningOptions) and (
            options.turned == "batch"
            or (options.turned == "auto" and options.rotations == "one" and _equal(task, self.views))
        )
        axes = self.views.axes
        step = lcm(*(multiple[axis] for axis in axes))
        side = min(task.patch[axis] for axis in axes) // step * step
        self.crop = tuple(side if axis in axes else size for axis, size in enumerate(task.patch))
        voxels = prod(size // stride for size, stride in zip(self.crop, deepest.stride, strict=True))
        if not self.whole and voxels < 2:
            without = ", or take method.equivariance=0" if isinstance(options, TurningOptions) else ""
            raise PaucisError(
                f"square copies of the patch {'x'.join(map(str, task.patch))} are too small for the network (multiples "
                f"of {step}): change data.patch or method.plane{without}"
            )
        classify = nn.Linear(deepest.channels, len(self.views))
        nn.init.trunc_normal_(classify.weight, std=0.02)
        nn.init.zeros_(classify.bias)
        self.head = nn.Sequential(nn.Dropout(0.2), classify)

    def turn(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The batch with every image turned at random, labels and validity alike; turns of labeled, then unlabeled."""
        assert batch.labeled is not None
        assert batch.unlabeled is not None
        own, spatial = batch.labeled, batch.unlabeled.shape[2:]
        one = self.views.sample(len(own.images), spatial, torch.default_generator)
        two = self.views.sample(len(batch.unlabeled), spatial, torch.default_generator)
        weights = None if own.weights is None else self.views.labels(own.weights, one)
        changed = batch._replace(
            labeled=own._replace(
                images=self.views.image(own.images, one), labels=self.views.labels(own.labels, one), weights=weights
            ),
            unlabeled=self.views.image(batch.unlabeled, two),
            valid=None if batch.valid is None else self.views.labels(batch.valid, two),
        )
        return changed, torch.cat([one.turns, two.turns])

    def copies(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Turned copies of the images' middle, of equal sides along the turned axes, and their turns.

        One copy of each image, or with ``rotations=all`` one for every turn, all images in turn 0 first.
        """
        middle = _middle(images, self.crop)
        if self.options.rotations == "one":
            drawn = self.views.sample(len(images), self.crop, torch.default_generator)
            return self.views.image(middle, drawn), drawn.turns
        every = [OrientationParams(torch.full((len(images),), k)) for k in range(len(self.views))]
        return torch.cat([self.views.image(middle, one) for one in every]), torch.cat([one.turns for one in every])

    def forward(self, deepest: Tensor, turns: Tensor) -> Tensor:
        """The loss, of the encoder's deepest map (N, C, *size) of turned images."""
        return equivariance_loss(self.head(deepest.flatten(2).mean(2)), turns)


def _views(task: Task, options: TurnOptions) -> Orientations:
    return Orientations(task.ndim, options.plane if options.orientations == "plane" else None)


def _equal(task: Task, views: Orientations) -> bool:
    return len({task.patch[axis] for axis in views.axes}) == 1


def _middle(images: Tensor, crop: tuple[int, ...]) -> Tensor:
    for axis, side in enumerate(crop, 2):
        images = images.narrow(axis, (images.shape[axis] - side) // 2, side)
    return images
