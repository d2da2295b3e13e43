"""Swin UNETR."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks.base import At, Decoder, Network, NetworkOptions, Site, register, unchanged
from paucis.networks.blocks import conv
from paucis.networks.shallow_conv import guard_convolutions
from paucis.options import build, option


@dataclass(frozen=True)
class SwinUNETROptions(NetworkOptions):
    """Options of Swin UNETR."""

    features: int = option(24, "channels of the finest level, doubled at each level; a multiple of 12", minimum=12)
    depths: tuple[int, ...] = option((2, 2, 2, 2), "blocks of the four levels of attention", minimum=1)
    heads: tuple[int, ...] = option((3, 6, 12, 24), "attention heads of the four levels", minimum=1)
    window: int = option(7, "tokens along the side of an attention window", minimum=2)
    drop_path: float = option(0.0, "largest rate of stochastic depth", minimum=0.0, maximum=0.95)
    normalization: str = option("instance", "of the convolutional blocks", choices=("instance", "batch"))


@register("swin_unetr")
class SwinUNETR(Network):
    """A Swin Transformer encoder whose maps, each through a residual block, meet a convolutional decoder.

    Built from MONAI's parts, in 2D and 3D. Encoder maps have strides 1, 2, 4, 8, 16, 32; the images' size is a multiple
    of 32. The encoder's parts are named as in MONAI, whose weight files fit it.

    Reference: Hatamizadeh et al., Swin UNETR, BrainLes (MICCAI Workshop) 2021.

    *Deviations*: a block inserted at an encoder site acts on the skip connection (at the coarsest site on all that
    follows), not on the row of attention levels beneath it.
    """

    Options = SwinUNETROptions

    def __init__(self, task: Task, options: SwinUNETROptions) -> None:
        super().__init__(task, options)
        from monai.networks.nets.swin_unetr import SwinTransformer

        _check(options)
        width = options.features
        with _with_numbers():
            self.swinViT = SwinTransformer(
                in_chans=task.channels,
                embed_dim=width,
                window_size=(options.window,) * task.ndim,
                patch_size=(2,) * task.ndim,
                depths=options.depths,
                num_heads=options.heads,
                drop_path_rate=options.drop_path,
                spatial_dims=task.ndim,
            )
        self.encoder1 = self._residual(task.channels, width)
        self.encoder2 = self._residual(width, width)
        self.encoder3 = self._residual(2 * width, 2 * width)
        self.encoder4 = self._residual(4 * width, 4 * width)
        self.encoder10 = self._residual(16 * width, 16 * width)
        widths = (width, width, 2 * width, 4 * width, 8 * width, 16 * width)
        self.encoded = tuple(Site(w, (2**level,) * task.ndim) for level, w in enumerate(widths))
        self.decoder = SwinUNETRDecoder(task.ndim, task.classes, self.encoded, options)
        self.sites = {f"encoder.{i}": site for i, site in enumerate(self.encoded)} | self.decoder.sites
        guard_convolutions(self)

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        hidden = self.swinViT(images)
        maps = (
            self.encoder1(images),
            self.encoder2(hidden[0]),
            self.encoder3(hidden[1]),
            self.encoder4(hidden[2]),
            hidden[3],
            self.encoder10(hidden[4]),
        )
        return tuple(self.at(f"encoder.{index}", feature) for index, feature in enumerate(maps))

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        decoded: tuple[tuple[Tensor, ...], Tensor] = self.decoder(maps, size, self.at)
        return decoded

    def new_decoder(self, **options: Any) -> Decoder:
        """A further decoder on the same encoder, freshly initialised; ``normalization`` may differ."""
        from dataclasses import asdict

        merged = build(SwinUNETROptions, {**asdict(self.options), **options}, "new_decoder.")
        return SwinUNETRDecoder(self.task.ndim, self.task.classes, self.encoded, merged)

    def _residual(self, inputs: int, outputs: int) -> nn.Module:
        from monai.networks.blocks import UnetrBasicBlock

        block: nn.Module = UnetrBasicBlock(
            self.task.ndim, inputs, outputs, 3, 1, self.options.normalization, res_block=True
        )
        return block


class SwinUNETRDecoder(Decoder):
    """Five levels of transposed convolution, concatenation and a residual block; then the head."""

    def __init__(self, ndim: int, classes: int, encoder: Sequence[Site], options: SwinUNETROptions) -> None:
        super().__init__()
        from monai.networks.blocks import UnetrUpBlock

        fines, coarses = encoder[-2::-1], encoder[:0:-1]
        for index, (fine, coarse) in enumerate(zip(fines, coarses, strict=True)):
            block = UnetrUpBlock(ndim, coarse.channels, fine.channels, 3, 2, options.normalization, res_block=True)
            self.add_module(f"decoder{len(fines) - index}", block)
        guard_convolutions(self)
        self.out = conv(ndim, encoder[0].channels, classes, 1)
        self.sites = {f"decoder.{index}": site for index, site in enumerate(fines)}

    def forward(
        self, maps: Sequence[Tensor], size: Sequence[int], at: At = unchanged
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        current, decoded = maps[-1], []
        for index, skip in enumerate(reversed(maps[:-1])):
            block = self.get_submodule(f"decoder{len(maps) - 1 - index}")
            current = at(f"decoder.{index}", block(current, skip))
            decoded.append(current)
        return tuple(decoded), self.out(current)


def _with_numbers() -> AbstractContextManager[Any]:
    """The CPU in place of the meta device, on which MONAI cannot read the rates that it calculates while building."""
    here = torch.get_default_device()
    return torch.device("cpu") if here.type == "meta" else nullcontext()


def _check(options: SwinUNETROptions) -> None:
    if options.features % 12:
        raise PaucisError(f"network.features={options.features} must be a multiple of 12")
    if len(options.depths) != 4 or len(options.heads) != 4:
        raise PaucisError("network.depths and network.heads name four levels each")
    if any(options.features * 2**level % heads for level, heads in enumerate(options.heads)):
        raise PaucisError(
            f"network.features={options.features} doubled at each level must be a multiple of "
            f"network.heads={options.heads}"
        )
