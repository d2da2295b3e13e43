"""Views that move voxels to places between voxels: what affine and elastic changes share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.views.base import P, View, pick, put, rows


class Grid(NamedTuple):
    """Where each voxel of some views comes from.

    Attributes:
        changed: (R,) the images that are changed.
        points: (R, *spatial, ndim) places as ``grid_sample`` has them (last axis first, -1 to 1 edge to edge).
        inside: (R, *spatial) bool, whether the place lies in the image.
    """

    changed: Tensor
    points: Tensor
    inside: Tensor


class Warp(View[P]):
    """A view given by a map from places in the view to places in the image.

    Places are voxel coordinates relative to the middle of the image. Images are sampled linearly and continued
    beyond their border by its values (``valid`` says where); labels by the nearest voxel. Inversion is approximate:
    it interpolates a second time, and what left the image is gone.
    """

    @abstractmethod
    def applied(self, params: P) -> Tensor:
        """(B,) bool: the images that are changed at all."""

    @abstractmethod
    def origin(self, params: P, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        """Places in the image shown at ``points`` of the view.

        Args:
            params: of the R changed images alone, on the device to use.
            points: (R, *spatial, ndim) places in the view; None for every voxel of it.
            spatial: size of image and view in voxels.
        """

    @abstractmethod
    def target(self, params: P, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        """The inverse of ``origin``: places in the view of ``points`` of the image."""

    def image(self, images: Tensor, params: P) -> Tensor:
        grid = self.grid(params, images.shape[2:], images.device)
        return images if grid is None else sample_images(images, grid)

    def labels(self, labels: Tensor, params: P, fill: int = IGNORE) -> Tensor:
        grid = self.grid(params, labels.shape[1:], labels.device)
        return labels if grid is None else sample_labels(labels, grid, fill)

    def invert(self, images: Tensor, params: P) -> Tensor:
        grid = self.grid(params, images.shape[2:], images.device, inverse=True)
        return images if grid is None else sample_images(images, grid)

    def together(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], params: P, fill: int = IGNORE
    ) -> tuple[list[Tensor], list[Tensor]]:
        first = next(iter([*images, *labels]), None)
        if first is None:
            return [], []
        spatial = first.shape[2:] if images else first.shape[1:]
        grid = self.grid(params, spatial, first.device)
        if grid is None:
            return list(images), list(labels)
        return [sample_images(each, grid) for each in images], [sample_labels(each, grid, fill) for each in labels]

    def grid(self, params: P, spatial: Sequence[int], device: torch.device, inverse: bool = False) -> Grid | None:
        """The places of all changed images; None where none is changed."""
        index = rows(self.applied(params), device)
        if index is None:
            return None
        few = self.pick(params, index, device)
        points = (self.target if inverse else self.origin)(few, None, spatial)
        sizes = torch.tensor(tuple(spatial), dtype=points.dtype).to(points.device)
        points = points * (2.0 / sizes)
        return Grid(index, points.flip(-1), points.abs().amax(-1) <= 1.0)

    def pick(self, params: P, index: Tensor, device: torch.device) -> P:
        """The parameters of the images at ``index``, on ``device``."""
        return pick(params, index, device)


def voxels(spatial: Sequence[int], device: torch.device) -> Tensor:
    """Places of all voxels relative to the middle: (*spatial, ndim)."""
    axes = [torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2 for size in spatial]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def sample_images(images: Tensor, grid: Grid) -> Tensor:
    """Images (B, C, *spatial) at the places of a grid, linearly between voxels."""
    return put(images, grid.changed, _sample(images[grid.changed], grid.points, "bilinear"))


def sample_labels(labels: Tensor, grid: Grid, fill: int) -> Tensor:
    """Labels (B, *spatial) at the places of a grid, from the nearest voxel; ``fill`` outside the image."""
    chosen = labels[grid.changed].unsqueeze(1).float()
    moved = _sample(chosen, grid.points, "nearest").squeeze(1).to(labels.dtype)
    return put(labels, grid.changed, moved.masked_fill(~grid.inside, fill))


def sample_field(field: Tensor, points: Tensor) -> Tensor:
    """A field (R, *spatial, ndim) of image size at ``points`` (R, *spatial, ndim), relative to the middle."""
    sizes = torch.tensor(field.shape[1:-1], dtype=points.dtype).to(points.device)
    values = _sample(field.movedim(-1, 1), (points * (2.0 / sizes)).flip(-1), "bilinear")
    return values.movedim(1, -1)


def _sample(images: Tensor, points: Tensor, mode: Literal["bilinear", "nearest"]) -> Tensor:
    with torch.autocast(images.device.type, enabled=False):
        result: Any = F.grid_sample(
            images.float(), points.float(), mode=mode, padding_mode="border", align_corners=False
        )
    return result.to(images.dtype)  # type: ignore[no-any-return]
