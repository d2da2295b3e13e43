"""The base augmentation: what every labeled, unlabeled and pseudo-labeled crop goes through before a method sees it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from paucis.batch import Annotated, Batch, Task
from paucis.options import option
from paucis.views.affine import Affine
from paucis.views.base import View
from paucis.views.compose import Compose
from paucis.views.elastic import Elastic
from paucis.views.flip import Flip
from paucis.views.intensity import BiasField, Blur, Brightness, Contrast, Gamma, Intensity, LowResolution, Noise
from paucis.views.rotate90 import Rotate90

COARSE = 3.0
"""An axis this many times coarser than the finest is not rotated into: its voxels would be torn apart."""


def _probability(default: float, of: str) -> Any:
    return option(default, f"probability of {of}, for each image", minimum=0.0, maximum=1.0)


@dataclass(frozen=True)
class AugmentOptions:
    """Keys ``augment.*``: strengths at most, and how often. A strength or probability of 0 leaves a change out."""

    off: bool = option(False, "leaves images as they are")
    flip_probability: float = _probability(0.5, "mirroring along each axis that the plan allows")
    rotate90_probability: float = _probability(0.0, "a turn by a multiple of 90 degrees in planes of equal size")
    rotation: float = option(15.0, "largest rotation in degrees", minimum=0.0, maximum=180.0)
    scale: float = option(0.2, "largest enlargement (0.2: factors from 1/1.2 to 1.2)", minimum=0.0, maximum=3.0)
    translation: float = option(0.0, "largest shift in voxels along each axis", minimum=0.0)
    affine_probability: float = _probability(0.5, "rotation, scaling and shift together")
    elastic: float = option(
        0.2, "largest elastic shift as a share of the distance of control points", minimum=0.0, maximum=0.39
    )
    elastic_distance: float = option(16.0, "voxels between elastic control points", minimum=2.0)
    elastic_probability: float = _probability(0.2, "elastic deformation")
    noise: float = option(0.1, "largest noise, in standard deviations of the image", minimum=0.0)
    noise_probability: float = _probability(0.15, "noise")
    blur: float = option(1.0, "largest standard deviation of the blur in voxels", minimum=0.0)
    blur_probability: float = _probability(0.1, "blur")
    brightness: float = option(0.2, "largest shift of intensity, in standard deviations of the image", minimum=0.0)
    brightness_probability: float = _probability(0.15, "a shift of intensity")
    contrast: float = option(0.3, "largest stretch of contrast (0.3: factors from 1/1.3 to 1.3)", minimum=0.0)
    contrast_probability: float = _probability(0.15, "a stretch of contrast")
    gamma: float = option(0.4, "largest bend of intensities (0.4: powers from 1/1.4 to 1.4)", minimum=0.0)
    gamma_probability: float = _probability(0.15, "a bend of intensities")
    low_resolution: float = option(0.5, "largest share of voxels lost along an axis", minimum=0.0, maximum=0.9)
    low_resolution_probability: float = _probability(0.1, "low resolution")
    bias_field: float = option(0.3, "largest exponent of a smooth bias field", minimum=0.0)
    bias_field_probability: float = _probability(0.1, "a bias field")


class BaseAugmentation:
    """Changes geometry and intensity of a batch: images, labels, weights and validity in one geometry.

    Voxels that come from outside a crop are labeled ``IGNORE`` and are not valid; their confidence is that of the
    border. Mirroring happens along ``task.flips`` alone. In stacks more than three times coarser along one axis than
    along the finest, rotation stays in the plane of the slices. All randomness comes from the generator.

    Args:
        task: ndim, spacing and flips.
        options: ``augment.*``.
    """

    def __init__(self, task: Task, options: AugmentOptions) -> None:
        self.options = options
        self.geometry = _chain(_geometry(task, options))
        self.intensity = _chain(_intensity(task, options))

    @torch.no_grad()
    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The changed batch, on its device.

        Args:
            batch: of crops.
            generator: a CPU generator.
        """
        if self.options.off:
            return batch
        changed: dict[str, Any] = {}
        if batch.labeled is not None:
            changed["labeled"] = self._annotated(batch.labeled, generator)
        if batch.unlabeled is not None:
            changed["unlabeled"], changed["valid"] = self._unlabeled(batch.unlabeled, batch.valid, generator)
        if batch.pseudo is not None:
            changed["pseudo"] = self._annotated(batch.pseudo, generator)
        return batch._replace(**changed)

    def _annotated(self, part: Annotated, generator: torch.Generator) -> Annotated:
        maps = [part.images] if part.weights is None else [part.images, part.weights.unsqueeze(1)]
        maps, (labels,) = self._move(maps, [part.labels], generator)
        weights = None if part.weights is None else maps[1].squeeze(1)
        return Annotated(self._recolor(maps[0], generator), labels, weights)

    def _unlabeled(self, images: Tensor, valid: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if valid is None:
            valid = torch.ones_like(images[:, 0], dtype=torch.bool)
        (images,), (valid,) = self._move([images], [valid], generator, fill=0)
        return self._recolor(images, generator), valid

    def _move(
        self, images: list[Tensor], labels: list[Tensor], generator: torch.Generator, **fill: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        if self.geometry is None:
            return images, labels
        params = self.geometry.sample(len(images[0]), images[0].shape[2:], generator)
        return self.geometry.together(images, labels, params, **fill)

    def _recolor(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.intensity is None:
            return images
        return self.intensity.image(images, self.intensity.sample(len(images), images.shape[2:], generator))


def _chain(views: list[View[Any]]) -> Compose | None:
    return Compose(*views) if views else None


def _geometry(task: Task, options: AugmentOptions) -> list[View[Any]]:
    spacing = task.spacing or (1.0,) * task.ndim
    views: list[View[Any]] = []
    if task.flips and options.flip_probability:
        views.append(Flip(task.flips, options.flip_probability))
    if options.rotate90_probability:
        planes = [pair for pair in combinations(range(task.ndim), 2) if spacing[pair[0]] == spacing[pair[1]]]
        views.extend(Rotate90(plane, options.rotate90_probability) for plane in planes)
    if options.affine_probability and (options.rotation or options.scale or options.translation):
        views.append(
            Affine(
                rotations_in_space(spacing, options.rotation),
                options.scale,
                options.translation,
                spacing,
                options.affine_probability,
            )
        )
    if options.elastic_probability and options.elastic:
        views.append(Elastic(options.elastic, options.elastic_distance, spacing, options.elastic_probability))
    return views


def rotations_in_space(spacing: tuple[float, ...], largest: float) -> tuple[float, ...]:
    """Largest angle about each axis; 0 where the turn would mix a coarse axis with a fine one."""
    planes = list(combinations(range(len(spacing)), 2))[::-1]
    ratios = [max(spacing[one], spacing[two]) / min(spacing[one], spacing[two]) for one, two in planes]
    return tuple(largest if ratio <= COARSE else 0.0 for ratio in ratios)


def _intensity(task: Task, options: AugmentOptions) -> list[View[Any]]:
    views: list[Intensity] = [
        BiasField(options.bias_field, options.bias_field_probability),
        Blur(options.blur, options.blur_probability, task.spacing),
        LowResolution(options.low_resolution, options.low_resolution_probability, task.spacing),
        Contrast(options.contrast, options.contrast_probability),
        Brightness(options.brightness, options.brightness_probability),
        Gamma(options.gamma, options.gamma_probability),
        Noise(options.noise, options.noise_probability),
    ]
    return [view for view in views if view.strength and view.probability]
