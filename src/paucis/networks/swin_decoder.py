"""A Swin transformer decoder for the maps of any encoder, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks.base import At, Decoder, Network, Site, unchanged
from paucis.networks.blocks import resize_to
from paucis.networks.swin_unet import swin_block

MAPS = 4
"""Encoder maps that the decoder reads, at most: the coarsest ones."""


def encoder_sites(network: Network) -> tuple[Site, ...]:
    """The sites of a network's encoder maps, fine to coarse, as ``Features.encoder`` has them."""
    named = [name.partition(".") for name in network.sites]
    numbers = sorted(int(number) for place, _, number in named if place == "encoder" and number.isdigit())
    return tuple(network.sites[f"encoder.{number}"] for number in numbers)


class TransformerDecoder(Decoder):
    """Tokens from the four coarsest encoder maps; at each level expand, concatenate, reduce, attend.

    Each map is cut into patches of one voxel, projected linearly (LayerNorm) and given a learned absolute position
    encoding: ``PE(x) = [x_1 E; ...; x_N E] + E_pos``. From the coarsest level up: every token expands into the finer
    level's, is joined with that level's tokens, reduced, and passes through windows of shifted attention. A last
    expansion reaches the image's size.

    The encodings are parameters of the size that the task's patch has; for images of another size they are
    interpolated. Windows that do not divide the tokens are padded. Blocks: timm in 2D, MONAI in 3D.

    Sites (its own, not the network's): ``decoder.N`` after the N-th attention, the last one after the last expansion.

    Args:
        task: ndim, classes and patch.
        encoder: sites of the encoder's maps, fine to coarse.
        width: channels of the finest tokens, doubled at each coarser level; None for 96 in 2D and 48 in 3D.
        heads: attention heads of the finest tokens, doubled at each coarser level.
        depth: blocks at each level.
        window: tokens along the side of an attention window; None for 7 in 2D and 4 in 3D.
        drop_path: largest rate of stochastic depth, reached at the coarsest level.

    Raises:
        PaucisError: fewer than two maps, maps whose strides do not divide one another, or a width that the heads do
            not divide.

    Reference:
        T. Wang et al.: Uncertainty-guided pixel contrastive learning for semi-supervised medical image segmentation.
        IJCAI 2022, Eq. 2; H. Cao et al.: Swin-Unet. ECCV Workshops 2022.

    Deviations:
        The published code keeps the position encodings in a plain list, so that they are neither trained nor saved.
        It takes images of 224 x 224 pixels alone. There is no transformer in 3D, nor for other encoders: the width of
        48 and windows of 4 tokens in 3D are ours.
    """

    def __init__(
        self,
        task: Task,
        encoder: Sequence[Site],
        *,
        width: int | None = None,
        heads: int = 3,
        depth: int = 2,
        window: int | None = None,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        ndim, encoder = task.ndim, tuple(encoder)[-MAPS:]
        finest = (96, 48)[ndim - 2] if width is None else width
        side = (7, 4)[ndim - 2] if window is None else window
        _check(encoder, finest, heads)
        widths = [finest * 2**level for level in range(len(encoder))]
        grids = [
            tuple(-(-size // step) for size, step in zip(task.patch, site.stride, strict=True)) for site in encoder
        ]
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Linear(site.channels, own), nn.LayerNorm(own))
            for site, own in zip(encoder, widths, strict=True)
        )
        self.positions = nn.ParameterList(
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, own, *grid), std=0.02))
            for own, grid in zip(widths, grids, strict=True)
        )
        # stochastic depth grows with the coarseness; the coarsest level itself has no blocks
        rates = torch.linspace(0, drop_path, depth * len(encoder), device="cpu").tolist()
        self.expand, self.reduce, self.attend = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.sites = {}
        for number, level in enumerate(range(len(encoder) - 2, -1, -1)):
            own = widths[level]
            self.expand.append(Expand(widths[level + 1], _factor(encoder[level], encoder[level + 1]), own))
            self.reduce.append(nn.Linear(2 * own, own))
            self.attend.append(
                attention(grids[level], own, heads * 2**level, side, rates[depth * level : depth * (level + 1)])
            )
            self.sites[f"decoder.{number}"] = Site(own, encoder[level].stride)
        self.last = nn.Sequential(nn.LayerNorm(finest), Expand(finest, encoder[0].stride, finest))
        self.head = nn.Linear(finest, task.classes, bias=False)
        self.sites[f"decoder.{len(encoder) - 1}"] = Site(finest, (1,) * ndim)
        self.apply(_initialize)

    def forward(
        self, maps: Sequence[Tensor], size: Sequence[int], at: At = unchanged
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        maps = maps[-len(self.embed) :]
        tokens = [
            embed(feature.movedim(1, -1)) + resize_to(position, feature.shape[2:]).movedim(1, -1)
            for embed, position, feature in zip(self.embed, self.positions, maps, strict=True)
        ]
        current, decoded = tokens.pop(), list[Tensor]()
        for number, (expand, reduce, attend) in enumerate(zip(self.expand, self.reduce, self.attend, strict=True)):
            joined = torch.cat((expand(current), tokens.pop()), -1)
            feature = at(f"decoder.{number}", attend(reduce(joined)).movedim(-1, 1))
            decoded.append(feature)
            current = feature.movedim(1, -1)
        feature = at(f"decoder.{len(decoded)}", self.last(current).movedim(-1, 1))
        logits = self.head(feature.movedim(1, -1)).movedim(-1, 1)
        return (*decoded, feature), resize_to(logits, size)


class Expand(nn.Module):
    """Each token becomes ``factor`` tokens along every axis, of ``outputs`` channels: a linear layer and LayerNorm."""

    def __init__(self, inputs: int, factor: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.factor, self.outputs = tuple(factor), outputs
        self.linear = nn.Linear(inputs, prod(self.factor) * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, *sizes, _ = tokens.shape
        ndim = len(sizes)
        parts = self.linear(tokens).view(batch, *sizes, *self.factor, self.outputs)
        between = [
            axis for pair in zip(range(1, ndim + 1), range(ndim + 1, 2 * ndim + 1), strict=True) for axis in pair
        ]
        larger = [size * factor for size, factor in zip(sizes, self.factor, strict=True)]
        expanded: Tensor = self.norm(parts.permute(0, *between, 2 * ndim + 1).reshape(batch, *larger, self.outputs))
        return expanded


class VolumeAttention(nn.Module):
    """MONAI's row of Swin blocks for tokens (B, Z, Y, X, channels)."""

    def __init__(self, channels: int, heads: int, window: Sequence[int], rates: Sequence[float]) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import BasicLayer

        self.layer: Any = BasicLayer(
            channels, len(rates), heads, tuple(window), drop_path=list(rates), mlp_ratio=4.0, qkv_bias=True
        )

    def forward(self, tokens: Tensor) -> Tensor:
        attended: Tensor = self.layer(tokens.movedim(-1, 1)).movedim(1, -1)
        return attended


def attention(grid: Sequence[int], channels: int, heads: int, window: int, rates: Sequence[float]) -> nn.Module:
    """Swin blocks, every second one with shifted windows, for tokens (B, *spatial, channels) of any size.

    Args:
        grid: tokens along each axis, 2 or 3 of them; no window is larger.
        channels: of a token.
        heads: attention heads.
        window: tokens along the side of a window.
        rates: of stochastic depth, one per block.
    """
    if len(grid) == 3:
        return VolumeAttention(channels, heads, [min(window, size) for size in grid], rates)
    side = min(window, *grid)
    return nn.Sequential(
        *(
            swin_block(channels, heads, side, bool(number % 2) and side < max(grid), rate)
            for number, rate in enumerate(rates)
        )
    )


def _factor(fine: Site, coarse: Site) -> tuple[int, ...]:
    return tuple(b // a for a, b in zip(fine.stride, coarse.stride, strict=True))


def _check(encoder: Sequence[Site], width: int, heads: int) -> None:
    if len(encoder) < 2:
        raise PaucisError(
            "the transformer decoder needs an encoder of two maps or more: choose another with network=NAME"
        )
    for fine, coarse in pairwise(encoder):
        if any(b % a for a, b in zip(fine.stride, coarse.stride, strict=True)):
            raise PaucisError(
                f"the transformer decoder cannot expand from stride {coarse.stride} to {fine.stride}: choose another "
                "network"
            )
    if width % heads:
        raise PaucisError(f"the transformer's width {width} must be a multiple of its {heads} heads")


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
