"""Rotation, scaling and translation, in millimeters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from paucis.views.base import choose, uniform
from paucis.views.warp import Warp, voxels


class AffineParams(NamedTuple):
    """What the view does with the content of each image, in voxels about the middle: ``p -> matrix p + shift``.

    Attributes:
        matrix: (B, ndim, ndim).
        shift: (B, ndim).
        applied: (B,) bool; the others stay untouched (identity).
    """

    matrix: Tensor
    shift: Tensor
    applied: Tensor


class Affine(Warp[AffineParams]):
    """Rotates, scales and moves the content of each image about its middle.

    Angles are angles in space: with unequal spacing the voxel matrix is ``D^-1 (R S) D``, D the spacing.

    Args:
        rotation: largest angle in degrees, either way: one number for all planes, or one per axis turned about in 3D
            (0 keeps that axis's plane still), one in 2D. A positive angle in 2D turns axis 0 towards axis 1.
        scale: enlarges by a factor between ``1 / (1 + scale)`` and ``1 + scale``.
        translation: largest shift in voxels along each axis, either way.
        spacing: mm per voxel along each axis; empty for equal ones.
        probability: of changing an image.
        isotropic: one factor for all axes; False draws one per axis.
    """

    def __init__(
        self,
        rotation: float | Sequence[float] = 15.0,
        scale: float = 0.0,
        translation: float = 0.0,
        spacing: Sequence[float] = (),
        probability: float = 1.0,
        isotropic: bool = True,
    ) -> None:
        self.rotation = rotation
        self.scale = scale
        self.translation = translation
        self.spacing = tuple(spacing)
        self.probability = probability
        self.isotropic = isotropic

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> AffineParams:
        ndim = len(spatial)
        applied = choose(batch, self.probability, generator)
        count = 1 if ndim == 2 else 3
        given = self.rotation
        limits = torch.tensor([given] * count if isinstance(given, int | float) else list(given))
        angles = uniform((batch, count), -1.0, 1.0, generator) * limits * (math.pi / 180)
        exponent = uniform((batch, ndim), -1.0, 1.0, generator)
        factors = (1.0 + self.scale) ** (exponent[:, :1].expand(-1, ndim) if self.isotropic else exponent)
        shift = uniform((batch, ndim), -self.translation, self.translation, generator)
        spacing = torch.tensor(self.spacing or (1.0,) * ndim)
        change = rotation_matrix(angles, ndim) * factors.unsqueeze(1)
        matrix = change * spacing / spacing.unsqueeze(1)
        matrix = torch.where(applied.reshape(-1, 1, 1), matrix, torch.eye(ndim))
        return AffineParams(matrix.to(device), (shift * applied.unsqueeze(1)).to(device), applied.to(device))

    def applied(self, params: AffineParams) -> Tensor:
        return params.applied

    def origin(self, params: AffineParams, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        inverse = torch.linalg.inv_ex(params.matrix).inverse  # inv would wait for the device to check it
        offset = -(inverse * params.shift.unsqueeze(1)).sum(-1)
        return _transform(inverse, offset, points, spatial)

    def target(self, params: AffineParams, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        return _transform(params.matrix, params.shift, points, spatial)


def rotation_matrix(angles: Tensor, ndim: int) -> Tensor:
    """Rotations by ``angles`` (B, 1 or 3) in radians: in the plane (2D), or about axis 0, 1 and 2 in turn (3D)."""
    matrix = torch.eye(ndim).expand(len(angles), ndim, ndim).clone()
    planes = list(combinations(range(ndim), 2))[::-1]  # 3D: (1, 2) is about axis 0, (0, 2) about 1, (0, 1) about 2
    for angle, (one, two) in zip(angles.unbind(1), planes, strict=True):
        turn = torch.eye(ndim).expand(len(angles), ndim, ndim).clone()
        turn[:, one, one] = turn[:, two, two] = angle.cos()
        turn[:, two, one] = angle.sin()
        turn[:, one, two] = -angle.sin()
        with torch.autocast("cpu", enabled=False):
            matrix = turn @ matrix
    return matrix


def _transform(matrix: Tensor, offset: Tensor, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
    count, ndim = offset.shape
    matrix, offset = matrix.transpose(1, 2), offset.unsqueeze(1)
    places = voxels(spatial, matrix.device).reshape(1, -1, ndim) if points is None else points.reshape(count, -1, ndim)
    with torch.autocast(matrix.device.type, enabled=False):
        return (places @ matrix + offset).reshape(count, *spatial, ndim)
