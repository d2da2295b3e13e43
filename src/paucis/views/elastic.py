"""Smooth deformation that never folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from paucis.views.base import along, choose, uniform
from paucis.views.warp import Warp, sample_field, voxels

FOLDLESS = 0.4
"""Shift of control points, as a share of their distance, below which a cubic B-spline deformation cannot fold."""


class ElasticParams(NamedTuple):
    """How the control points of each image move.

    Attributes:
        control: (B, ndim, *control) shifts of control points in voxels.
        applied: (B,) bool; the others stay untouched (shifts of 0).
    """

    control: Tensor
    applied: Tensor


class Elastic(Warp[ElasticParams]):
    """Moves each place by a cubic B-spline field over randomly shifted control points.

    Args:
        strength: largest shift of a control point as a share of the distance between control points; below 0.4 the
            deformation is one-to-one, tissue never folds.
        distance: between control points, in voxels of the finest spacing.
        spacing: mm per voxel along each axis; empty for equal ones. A coarse axis has its control points fewer
            voxels apart.
        probability: of changing an image.

    Raises:
        ValueError: ``strength`` of 0.4 or more.

    Reference:
        D. Rueckert, P. Aljabar, R. Heckemann, J. Hajnal, A. Hammers: Diffeomorphic registration using B-splines.
        MICCAI 2006 (the bound).
    """

    def __init__(
        self,
        strength: float = 0.2,
        distance: float = 16.0,
        spacing: Sequence[float] = (),
        probability: float = 1.0,
    ) -> None:
        if strength >= FOLDLESS:
            raise ValueError(f"an elastic strength of {strength} may fold tissue: it must be below {FOLDLESS}")
        self.strength = strength
        self.distance = distance
        self.spacing = tuple(spacing)
        self.probability = probability

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> ElasticParams:
        applied = choose(batch, self.probability, generator)
        distances = self._distances(len(spatial))
        counts = [_points(size, distance) for size, distance in zip(spatial, distances, strict=True)]
        control = uniform((batch, len(spatial), *counts), -self.strength, self.strength, generator)
        ones = [1] * len(spatial)
        scale = torch.tensor(distances).reshape(1, -1, *ones) * applied.reshape(-1, 1, *ones)
        return ElasticParams((control * scale).to(device), applied.to(device))

    def applied(self, params: ElasticParams) -> Tensor:
        return params.applied

    def origin(self, params: ElasticParams, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        field = self.field(params, spatial)
        if points is None:
            return field + voxels(spatial, field.device)
        return points + sample_field(field, points)

    def target(self, params: ElasticParams, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        # q with q + d(q) = p: fixed-point iteration, which converges since the deformation does not fold
        field = self.field(params, spatial)
        goal = voxels(spatial, field.device).expand_as(field) if points is None else points
        places = goal
        for _ in range(8):
            places = goal - sample_field(field, places)
        return places

    def field(self, params: ElasticParams, spatial: Sequence[int]) -> Tensor:
        """Shift of each voxel, in voxels: (R, *spatial, ndim)."""
        field = params.control
        for axis, (size, distance) in enumerate(zip(spatial, self._distances(len(spatial)), strict=True)):
            field = along(field, spline_matrix(size, distance), axis)
        return field.movedim(1, -1)

    def _distances(self, ndim: int) -> list[float]:
        spacing = self.spacing or (1.0,) * ndim
        return [max(self.distance * min(spacing) / each, 1.0) for each in spacing]


def spline_matrix(size: int, distance: float, count: int | None = None) -> Tensor:
    """Weights of cubic B-spline control points at each of ``size`` voxels: (size, count).

    Args:
        size: voxels of the axis; the first lies on the second control point.
        distance: between control points, in voxels.
        count: control points; None for as many as the axis needs.
    """
    count = _points(size, distance) if count is None else count
    places = torch.arange(size, dtype=torch.float32) / distance + 1.0
    offsets = (places.unsqueeze(1) - torch.arange(count)).abs()
    near = 2 / 3 - offsets**2 + offsets**3 / 2
    far = (2 - offsets).clamp(min=0) ** 3 / 6
    return torch.where(offsets < 1, near, far)


def _points(size: int, distance: float) -> int:
    return math.floor((size - 1) / distance) + 4
