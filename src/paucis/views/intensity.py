"""Changes of intensity: geometry, labels and inversion leave them alone.

Strengths are relative to the image's own intensities (its standard deviation or range), so that they mean the same
for normalized scans and for pictures.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.views.base import View, along, choose, put, rows, seeds, uniform
from paucis.views.elastic import spline_matrix


class IntensityParams(NamedTuple):
    """How each image is changed.

    Attributes:
        applied: (B,) bool; the others stay untouched.
        amount: (B,) how much, in the view's own terms.
        seed: (B,) int64, seeds the random field of a view that has one.
    """

    applied: Tensor
    amount: Tensor
    seed: Tensor


class Intensity(View[IntensityParams]):
    """What all changes of intensity share.

    Args:
        strength: how strong the change is at most; 0 changes nothing.
        probability: of changing an image.
    """

    def __init__(self, strength: float, probability: float = 1.0) -> None:
        self.strength = strength
        self.probability = probability

    @abstractmethod
    def amount(self, drawn: Tensor) -> Tensor:
        """The amount from numbers evenly spread in [-1, 1]: (B,) to (B,)."""

    @abstractmethod
    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        """The changed images (R, C, *spatial); ``amount`` (R, 1, ..., 1) on their device, ``seed`` (R,)."""

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> IntensityParams:
        applied = choose(batch, self.probability if self.strength else 0.0, generator)
        amount = self.amount(uniform((batch,), -1.0, 1.0, generator))
        return IntensityParams(applied.to(device), amount.to(device), seeds(batch, generator).to(device))

    def image(self, images: Tensor, params: IntensityParams) -> Tensor:
        index = rows(params.applied, images.device)
        if index is None:
            return images
        amount = params.amount.to(images.device)[index].reshape(-1, *[1] * (images.ndim - 1))
        seed = params.seed[index.to(params.seed.device)]
        with torch.autocast(images.device.type, enabled=False):
            changed = self.change(images[index].float(), amount.float(), seed)
        return put(images, index, changed.to(images.dtype))

    def labels(self, labels: Tensor, params: IntensityParams, fill: int = IGNORE) -> Tensor:
        return labels

    def invert(self, images: Tensor, params: IntensityParams) -> Tensor:
        """``images`` as they are: a prediction needs no inverse of an intensity."""
        return images


class Noise(Intensity):
    """Adds Gaussian noise whose standard deviation is up to ``strength`` times the image's."""

    def amount(self, drawn: Tensor) -> Tensor:
        return drawn.abs() * self.strength

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        noise = torch.empty_like(images)
        for one, number in zip(noise, seed.tolist(), strict=True):
            one.normal_(generator=torch.Generator(images.device).manual_seed(number))
        return images + noise * (amount * _deviation(images))


class Blur(Intensity):
    """Gaussian blur with a standard deviation of up to ``strength`` voxels of the finest spacing.

    Args:
        strength: voxels.
        probability: of changing an image.
        spacing: mm per voxel along each axis; empty for equal ones.
    """

    def __init__(self, strength: float, probability: float = 1.0, spacing: Sequence[float] = ()) -> None:
        super().__init__(strength, probability)
        self.spacing = tuple(spacing)

    def amount(self, drawn: Tensor) -> Tensor:
        return drawn.abs() * self.strength

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        spacing = self.spacing or (1.0,) * (images.ndim - 2)
        for axis, size in enumerate(images.shape[2:]):
            sigma = (amount.reshape(-1, 1, 1) * (min(spacing) / spacing[axis])).clamp(min=1e-3)
            places = torch.arange(size, device=images.device)
            weights = (-0.5 * ((places - places.unsqueeze(1)) / sigma) ** 2).exp()
            images = along(images, weights / weights.sum(-1, keepdim=True), axis)
        return images


class Gamma(Intensity):
    """Raises intensities, scaled to [0, 1], to a power between ``1 / (1 + strength)`` and ``1 + strength``.

    Mean and standard deviation of each channel stay as they were.
    """

    def amount(self, drawn: Tensor) -> Tensor:
        return (1.0 + self.strength) ** drawn

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        dims = tuple(range(2, images.ndim))
        low, high = images.amin(dims, keepdim=True), images.amax(dims, keepdim=True)
        bent = ((images - low) / (high - low).clamp(min=1e-8)) ** amount
        factor = _deviation(images) / _deviation(bent).clamp(min=1e-8)
        return (bent - bent.mean(dims, keepdim=True)) * factor + images.mean(dims, keepdim=True)


class Brightness(Intensity):
    """Adds up to ``strength`` standard deviations of the image, either way."""

    def amount(self, drawn: Tensor) -> Tensor:
        return drawn * self.strength

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        return images + amount * _deviation(images)


class Contrast(Intensity):
    """Stretches intensities about their mean by a factor between ``1 / (1 + strength)`` and ``1 + strength``."""

    def amount(self, drawn: Tensor) -> Tensor:
        return (1.0 + self.strength) ** drawn

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        mean = images.mean(tuple(range(2, images.ndim)), keepdim=True)
        return (images - mean) * amount + mean


class LowResolution(Intensity):
    """Resamples to as little as ``1 - strength`` of the voxels along each axis, and back.

    Axes more than twice as coarse as the finest keep their voxels.

    Args:
        strength: share of the voxels that is lost at most, below 1.
        probability: of changing an image.
        spacing: mm per voxel along each axis; empty for equal ones.
    """

    def __init__(self, strength: float, probability: float = 1.0, spacing: Sequence[float] = ()) -> None:
        super().__init__(strength, probability)
        self.spacing = tuple(spacing)

    def amount(self, drawn: Tensor) -> Tensor:
        return 1.0 - drawn.abs() * self.strength

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        spacing = self.spacing or (1.0,) * (images.ndim - 2)
        kept = amount.flatten().tolist()
        for axis, size in enumerate(images.shape[2:]):
            if spacing[axis] <= 2 * min(spacing):
                matrices = [_resampling(size, max(round(size * share), 1)) for share in kept]
                images = along(images, torch.stack(matrices), axis)
        return images


class BiasField(Intensity):
    """Multiplies intensities, counted from the image's minimum, by a smooth field ``exp(strength * s)``, |s| <= 1."""

    def amount(self, drawn: Tensor) -> Tensor:
        return drawn.abs() * self.strength

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        ndim = images.ndim - 2
        drawn = [
            uniform((1, *[5] * ndim), -1.0, 1.0, torch.Generator().manual_seed(number)) for number in seed.tolist()
        ]
        field = torch.stack(drawn).to(images.device)
        for axis, size in enumerate(images.shape[2:]):
            field = along(field, spline_matrix(size, max(size - 1, 1) / 2, count=5), axis)
        low = images.amin(tuple(range(2, images.ndim)), keepdim=True)
        return (images - low) * (amount * field).exp() + low


def _deviation(images: Tensor) -> Tensor:
    """Standard deviation of each channel of each image: (B, C, 1, ..., 1)."""
    return images.std(tuple(range(2, images.ndim)), correction=0, keepdim=True)


def _resampling(size: int, fewer: int) -> Tensor:
    """Matrix (size, size) that averages ``size`` voxels into ``fewer`` and interpolates them back linearly."""
    down = F.interpolate(torch.eye(size).unsqueeze(0), size=fewer, mode="area").squeeze(0).T
    up = F.interpolate(torch.eye(fewer).unsqueeze(0), size=size, mode="linear", align_corners=False).squeeze(0).T
    return up @ down
