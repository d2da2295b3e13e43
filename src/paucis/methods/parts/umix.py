"""U-MIX: the blocks of an image where one network is unsure give way to blocks where the other is sure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def block_sources(
    first: Tensor, second: Tensor, blocks: Sequence[int], count: int, valid: Tensor | None = None
) -> Tensor:
    """Which block each block is to be taken from.

    The ``count`` blocks of largest ``first`` are taken from those of smallest ``second``; then those of largest
    ``second`` from those of smallest ``first``. Blocks that are not wholly valid are the last to be taken from.

    Args:
        first: (B, *spatial) uncertainty of one network.
        second: (B, *spatial) of the other.
        blocks: along each axis.
        count: blocks replaced for each network.
        valid: (B, *spatial) bool; None counts all voxels.

    Returns:
        (B, N) int64, N blocks in the order of ``to_blocks``.

    Reference:
        Z. Shen et al.: Co-training with high-confidence pseudo labels for semi-supervised medical image segmentation.
        IJCAI 2023.
    """
    if valid is None:
        valid = torch.ones_like(first, dtype=torch.bool)
    whole = to_blocks(valid.unsqueeze(1), blocks).all(-1).squeeze(1)
    unsure, sure = [], []
    for uncertainty in (first, second):
        mean = to_blocks((uncertainty * valid).unsqueeze(1), blocks).mean(-1).squeeze(1)
        unsure.append(mean.topk(count, dim=1).indices)
        sure.append(mean.masked_fill(~whole, torch.inf).topk(count, dim=1, largest=False).indices)
    sources = torch.arange(whole.shape[1], device=first.device).repeat(len(first), 1)
    sources = sources.scatter(1, unsure[0], sources.gather(1, sure[1]))
    return sources.scatter(1, unsure[1], sources.gather(1, sure[0]))  # of the image as it is by now


def rearranged(images: Tensor, sources: Tensor, blocks: Sequence[int]) -> Tensor:
    """Images (B, C, *spatial), or labels (B, *spatial), whose blocks are taken from ``sources``.

    Voxels beyond the last whole block of an axis stay.
    """
    if images.ndim == len(blocks) + 1:
        return rearranged(images.unsqueeze(1), sources, blocks).squeeze(1)
    pieces = to_blocks(images, blocks)
    pieces = pieces.gather(2, sources[:, None, :, None].expand_as(pieces))
    sizes = [size // number for size, number in zip(images.shape[2:], blocks, strict=True)]
    ndim = len(blocks)
    pieces = pieces.reshape(*images.shape[:2], *blocks, *sizes)
    order = [axis for pair in ((2 + i, 2 + ndim + i) for i in range(ndim)) for axis in pair]
    covered = [size * number for size, number in zip(sizes, blocks, strict=True)]
    mixed = images.clone()
    whole = mixed
    for axis, length in enumerate(covered):
        whole = whole.narrow(2 + axis, 0, length)
    whole.copy_(pieces.permute(0, 1, *order).reshape(*images.shape[:2], *covered))
    return mixed


def to_blocks(images: Tensor, blocks: Sequence[int]) -> Tensor:
    """Images (B, C, *spatial) as (B, C, N, voxels of a block), N blocks with the last axis running fastest."""
    sizes = [size // number for size, number in zip(images.shape[2:], blocks, strict=True)]
    split: list[int] = []
    for axis, (size, number) in enumerate(zip(sizes, blocks, strict=True)):
        images = images.narrow(2 + axis, 0, size * number)
        split += [number, size]
    ndim = len(blocks)
    order = [*range(2, 2 + 2 * ndim, 2), *range(3, 3 + 2 * ndim, 2)]
    return images.reshape(*images.shape[:2], *split).permute(0, 1, *order).flatten(2, 1 + ndim).flatten(3)


def block_grid(spatial: Sequence[int], wanted: int) -> tuple[int, ...]:
    """So many blocks along every axis, fewer along one that has fewer voxels."""
    return tuple(min(wanted, size) for size in spatial)
