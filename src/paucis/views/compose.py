"""Views one after the other, with the interface of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.views.base import View
from paucis.views.warp import Warp


class ChainParams(NamedTuple):
    """Parameters of views in a chain.

    Attributes:
        parts: what each view drew, in order.
    """

    parts: tuple[Any, ...]


class Warps(Warp[ChainParams]):
    """Warps that follow each other, done with a single interpolation.

    Args:
        views: in the order of their action.
    """

    def __init__(self, views: Sequence[Warp[Any]]) -> None:
        self.views = tuple(views)

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> ChainParams:
        return ChainParams(tuple(view.sample(batch, spatial, generator, device) for view in self.views))

    def applied(self, params: ChainParams) -> Tensor:
        return torch.stack([view.applied(part) for view, part in zip(self.views, params.parts, strict=True)]).any(0)

    def origin(self, params: ChainParams, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        for view, part in reversed(list(zip(self.views, params.parts, strict=True))):
            points = view.origin(part, points, spatial)
        assert points is not None
        return points

    def target(self, params: ChainParams, points: Tensor | None, spatial: Sequence[int]) -> Tensor:
        for view, part in zip(self.views, params.parts, strict=True):
            points = view.target(part, points, spatial)
        assert points is not None
        return points

    def pick(self, params: ChainParams, index: Tensor, device: torch.device) -> ChainParams:
        parts = zip(self.views, params.parts, strict=True)
        return ChainParams(tuple(view.pick(part, index, device) for view, part in parts))

    def count(self, params: ChainParams) -> int:
        return self.views[0].count(params.parts[0])


class Compose(View[ChainParams]):
    """A chain of views. Neighboring warps (affine, elastic) are merged into one, so that they interpolate once.

    Args:
        views: at least one, in the order of their action.
    """

    def __init__(self, *views: View[Any]) -> None:
        self.views: list[View[Any]] = []
        for warping, group in groupby(views, lambda view: isinstance(view, Warp)):
            members = list(group)
            if warping and len(members) > 1:
                self.views.append(Warps([view for view in members if isinstance(view, Warp)]))
            else:
                self.views.extend(members)

    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> ChainParams:
        parts = []
        for view in self.views:
            parts.append(view.sample(batch, spatial, generator, device))
            spatial = view.size(parts[-1], spatial)
        return ChainParams(tuple(parts))

    def image(self, images: Tensor, params: ChainParams) -> Tensor:
        for view, part in zip(self.views, params.parts, strict=True):
            images = view.image(images, part)
        return images

    def labels(self, labels: Tensor, params: ChainParams, fill: int = IGNORE) -> Tensor:
        for view, part in zip(self.views, params.parts, strict=True):
            labels = view.labels(labels, part, fill)
        return labels

    def invert(self, images: Tensor, params: ChainParams) -> Tensor:
        for view, part in reversed(list(zip(self.views, params.parts, strict=True))):
            images = view.invert(images, part)
        return images

    def together(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], params: ChainParams, fill: int = IGNORE
    ) -> tuple[list[Tensor], list[Tensor]]:
        images, labels = list(images), list(labels)
        for view, part in zip(self.views, params.parts, strict=True):
            images, labels = view.together(images, labels, part, fill)
        return images, labels

    def size(self, params: ChainParams, spatial: Sequence[int]) -> tuple[int, ...]:
        for view, part in zip(self.views, params.parts, strict=True):
            spatial = view.size(part, spatial)
        return tuple(spatial)

    def count(self, params: ChainParams) -> int:
        return self.views[0].count(params.parts[0])
