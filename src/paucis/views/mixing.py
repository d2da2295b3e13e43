"""Two images made into one: boxes to cut and paste, and who is mixed with whom. 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paucis.views.base import choose, uniform


def cutmix_boxes(
    batch: int,
    spatial: Sequence[int],
    generator: torch.Generator,
    probability: float = 0.5,
    share: tuple[float, float] = (0.02, 0.4),
    stretch: tuple[float, float] = (0.3, 1 / 0.3),
) -> Tensor:
    """One box per image, of a random share of its voxels, wherever it fits.

    A box is stretched along one axis, drawn at random, by a factor relative to the others; lengths count in shares
    of the image's, so that boxes suit flat volumes too. Factors that would not fit are not drawn.

    Args:
        batch: images.
        spatial: size of the images in voxels.
        generator: where all randomness comes from; a CPU generator.
        probability: of a box; images without one have an empty box.
        share: least and largest share of the image's voxels.
        stretch: least and largest length of the box along the drawn axis, as a multiple of its other lengths.

    Returns:
        (B, *spatial) bool on the CPU, True inside the box.

    Reference:
        S. Yun et al.: CutMix. ICCV 2019; shares and factors of L. Yang et al.: UniMatch. CVPR 2023.
    """
    ndim = len(spatial)
    applied = choose(batch, probability, generator)
    part = uniform((batch,), *share, generator).double()
    # no length may pass 1: neither share^(1/n) r^((n-1)/n) nor share^(1/n) r^(-1/n)
    low = part.clamp(min=stretch[0])
    high = (part ** (-1 / (ndim - 1))).clamp(max=stretch[1]).maximum(low)
    ratio = low + (high - low) * torch.rand(batch, generator=generator)
    axis = torch.randint(ndim, (batch,), generator=generator)
    chosen = axis.unsqueeze(1) == torch.arange(ndim)
    lengths = (part / ratio).pow(1 / ndim).unsqueeze(1) * torch.where(chosen, ratio.unsqueeze(1), 1.0)
    sizes = torch.tensor(tuple(spatial))
    extent = (lengths * sizes).round().long().clamp(min=1).minimum(sizes)
    begin = (torch.rand((batch, ndim), generator=generator) * (sizes - extent + 1)).floor().long()
    return _boxes(begin, extent, spatial) & applied.reshape(-1, *[1] * ndim)


def copy_paste_box(spatial: Sequence[int], generator: torch.Generator, share: float = 2 / 3) -> Tensor:
    """One box for a whole batch that takes ``share`` of every axis, anywhere in the image.

    Args:
        spatial: size of the images in voxels.
        generator: where all randomness comes from; a CPU generator.
        share: of each axis's length.

    Returns:
        (1, *spatial) bool on the CPU, True inside the box.

    Reference:
        Y. Bai et al.: Bidirectional copy-paste for semi-supervised medical image segmentation. CVPR 2023.
    """
    sizes = torch.tensor(tuple(spatial))
    extent = (sizes * share).floor().long().clamp(min=1).minimum(sizes)
    begin = (torch.rand((1, len(spatial)), generator=generator) * (sizes - extent + 1)).floor().long()
    return _boxes(begin, extent.unsqueeze(0), spatial)


def paste(inside: Tensor, outside: Tensor, box: Tensor) -> Tensor:
    """``inside`` where the box is, ``outside`` elsewhere.

    Args:
        inside: (B, *spatial) or (B, C, *spatial), images, labels or maps.
        outside: the same shape.
        box: (B or 1, *spatial) bool.
    """
    box = box.to(inside.device)
    return torch.where(box.unsqueeze(1) if inside.ndim > box.ndim else box, inside, outside)


def partners(batch: int, generator: torch.Generator) -> Tensor:
    """Another image of the batch for each, each taken once: (B,) indices. A single image is its own partner."""
    order = torch.randperm(batch, generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner


def halves(batch: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """The first and the second half of a batch, as indices of equal number.

    An odd batch shares its middle image between both; a single image is both halves. Where ``length`` asks for more,
    the halves repeat.

    Args:
        batch: images.
        length: entries of each half; None for half of the batch, rounded up.
    """
    half = (batch + 1) // 2
    index = torch.arange(length or half) % half
    return index, index + (batch - half)


def _boxes(begin: Tensor, extent: Tensor, spatial: Sequence[int]) -> Tensor:
    inside = torch.ones((len(begin), *[1] * len(spatial)), dtype=torch.bool)
    for axis, size in enumerate(spatial):
        places = torch.arange(size)
        first, length = begin[:, axis, None], extent[:, axis, None]
        along = (places >= first) & (places < first + length)
        shape = [len(begin), *[1] * len(spatial)]
        shape[axis + 1] = size
        inside = inside & along.reshape(shape)
    return inside
