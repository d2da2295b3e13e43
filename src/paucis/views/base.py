"""The contract of a view: parameters sampled apart from applying them, image and labels in one geometry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from paucis.batch import IGNORE

P = TypeVar("P", bound=tuple[Any, ...])
"""A NamedTuple of tensors with one entry per image."""


class View(ABC, Generic[P]):
    """A change of an image's geometry or intensity, in 2D and 3D.

    ``sample`` draws parameters; the same parameters then move images, labels and masks to the same places, as often
    as wanted. Random numbers come from the generator alone, and as many are drawn whatever their outcome.
    """

    @abstractmethod
    def sample(
        self, batch: int, spatial: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> P:
        """Parameters for a batch.

        Args:
            batch: images.
            spatial: size of the images in voxels.
            generator: where all randomness comes from; a CPU generator.
            device: where the parameters are put. They are small: left on the CPU, which images are concerned is known
                without waiting for a GPU.
        """

    @abstractmethod
    def image(self, images: Tensor, params: P) -> Tensor:
        """The view of images, or of maps of theirs such as probabilities: (B, C, *spatial)."""

    @abstractmethod
    def labels(self, labels: Tensor, params: P, fill: int = IGNORE) -> Tensor:
        """The view of labels (B, *spatial), never mixing values; ``fill`` where the view shows no image."""

    @abstractmethod
    def invert(self, images: Tensor, params: P) -> Tensor:
        """Maps of the view (B, C, *spatial), such as predicted probabilities, back in the image's geometry."""

    def together(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], params: P, fill: int = IGNORE
    ) -> tuple[list[Tensor], list[Tensor]]:
        """``image`` of several and ``labels`` of several with what they share computed once."""
        return [self.image(image, params) for image in images], [self.labels(label, params, fill) for label in labels]

    def valid(self, params: P, spatial: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Where the view shows real image: (B, *size of the view) bool.

        Args:
            params: what ``sample`` drew.
            spatial: size of the images in voxels, before the view.
            device: of the answer.
        """
        ones = torch.ones((self.count(params), *spatial), dtype=torch.uint8, device=device)
        return self.labels(ones, params, fill=0).bool()

    def size(self, params: P, spatial: Sequence[int]) -> tuple[int, ...]:
        """Size of the view, in voxels, of images of size ``spatial``: the same unless the view swaps axes."""
        return tuple(spatial)

    def count(self, params: P) -> int:
        """Images that the parameters are for."""
        return len(params[0])


def choose(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    """Which images a change concerns: (B,) bool."""
    return torch.rand(batch, generator=generator) < probability


def uniform(shape: Sequence[int], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Evenly spread numbers between ``low`` and ``high``."""
    return torch.rand(tuple(shape), generator=generator) * (high - low) + low


def seeds(batch: int, generator: torch.Generator) -> Tensor:
    """One seed per image, for changes whose random field is made on the images' device: (B,) int64."""
    return torch.randint(2**31, (batch,), generator=generator)


def rows(applied: Tensor, device: torch.device) -> Tensor | None:
    """Indices of the concerned images on ``device``; None where there are none."""
    index = applied.nonzero().flatten()
    return index.to(device) if len(index) else None


def put(whole: Tensor, index: Tensor, changed: Tensor) -> Tensor:
    """A copy of ``whole`` with the images at ``index`` replaced."""
    if len(index) == len(whole):
        return changed
    return whole.index_copy(0, index, changed)


def pick(params: P, index: Tensor, device: torch.device) -> P:
    """The parameters of the images at ``index``, on ``device``."""
    return type(params)(*(value[index.to(value.device)].to(device) for value in params))


def along(images: Tensor, matrices: Tensor, axis: int) -> Tensor:
    """Multiplies one spatial axis of each image by its matrix.

    Args:
        images: (B, C, *spatial).
        matrices: (B, out, in), or (out, in) for all.
        axis: spatial axis, of size ``in``; it comes out with size ``out``.
    """
    lines = images.movedim(axis + 2, -1)
    matrices = matrices.to(images)
    if matrices.ndim == 3:
        matrices = matrices.reshape(len(matrices), *[1] * (lines.ndim - 3), *matrices.shape[1:])
    with torch.autocast(images.device.type, enabled=False):
        return (lines @ matrices.transpose(-1, -2)).movedim(-1, axis + 2)
