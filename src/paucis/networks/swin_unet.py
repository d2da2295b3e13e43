"""Swin-UNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from paucis.errors import PaucisError
from paucis.networks.base import At, Decoder, Site, register, unchanged
from paucis.networks.pretrained import PretrainedOptions, with_imagenet
from paucis.networks.staged import StagedNetwork, Stages
from paucis.options import option

_PATCH = 4
_IMAGENET = "swin_tiny_patch4_window7_224"


@dataclass(frozen=True)
class SwinUNetOptions(PretrainedOptions):
    """Options of Swin-UNet."""

    width: int = option(96, "channels of the finest tokens, doubled at each of three mergings", minimum=1)
    depths: tuple[int, ...] = option((2, 2, 2, 2), "blocks of the encoder's four levels", minimum=1)
    decoder_depths: tuple[int, ...] = option((2, 2, 2), "blocks of the decoder's levels, coarse to fine", minimum=1)
    heads: tuple[int, ...] = option((3, 6, 12, 24), "attention heads of the four levels", minimum=1)
    window: int = option(7, "tokens along the side of an attention window", minimum=2)
    drop_path: float = option(0.1, "largest rate of stochastic depth", minimum=0.0, maximum=0.95)


@register("swin_unet")
class SwinUNet(StagedNetwork):
    """A U-shaped network of shifted-window attention alone: merge patches down, expand them up. 2D only.

    The image is cut into patches of 4 x 4 pixels. Any size that is a multiple of 32 works: windows that do not divide
    the tokens are padded. Sites: ``encoder.0`` the patch embedding, ``encoder.1`` to ``encoder.3`` the maps after each
    merging, the last one after the bottleneck; ``decoder.0`` to ``decoder.2`` after each level, ``decoder.3`` after
    the last, four-fold expansion, at full size; ``fusion.N`` the concatenated maps.

    Reference: Cao et al., Swin-Unet, ECCV Workshops 2022; Liu et al., Swin Transformer, ICCV 2021 (blocks: timm).

    *Deviations*: ImageNet weights are timm's of the tiny model and initialise the encoder alone (the published code
    copies them into the decoder as well); its third level has six blocks there, of which the first two are taken.
    """

    Options = SwinUNetOptions
    dims = (2,)

    def build_encoder(self) -> Stages:
        options = self.options
        _check(options)
        net = with_imagenet(
            lambda download: _swin(self.task.channels, options, download),
            options.pretrained,
            "Swin (tiny)",
            "timm/swin_tiny_patch4_window7_224.ms_in1k",
        )
        levels = list(net.layers)
        parts: list[nn.Sequential] = [ToMap(net.patch_embed)]
        for level, following in pairwise(levels):
            parts.append(OnTokens(*level.blocks, following.downsample))
        parts[-1].extend([*levels[-1].blocks, net.norm])
        return Stages(
            (part, Site(options.width * 2**index, (_PATCH * 2**index,) * 2)) for index, part in enumerate(parts)
        )

    def build_decoder(self, options: Any) -> Decoder:
        return SwinDecoder(options, self.encoder.sites, self.task.classes)


class SwinDecoder(Decoder):
    """Expands the deepest map, then at each level: concatenate, reduce, attend, expand; four-fold at last.

    Args:
        options: widths, depths, heads, window.
        encoder: sites of the encoder's maps, each twice the channels and stride of the one before.
        classes: channels of the logits.
    """

    def __init__(self, options: SwinUNetOptions, encoder: Sequence[Site], classes: int) -> None:
        super().__init__()
        depths = options.decoder_depths
        rates = torch.linspace(0, options.drop_path, sum(depths) + options.depths[-1], device="cpu").tolist()
        self.first = OnTokens(Expand(encoder[-1].channels, 2, encoder[-2].channels))
        self.reduce = nn.ModuleList()
        self.levels = nn.ModuleList()
        self.sites: dict[str, Site] = {}
        for index, site in enumerate(encoder[-2::-1]):
            own = rates[sum(depths[index + 1 :]) : sum(depths[index:])]
            blocks = [
                swin_block(site.channels, options.heads[-2 - index], options.window, bool(number % 2), rate)
                for number, rate in enumerate(own)
            ]
            self.reduce.append(OnTokens(nn.Linear(2 * site.channels, site.channels)))
            self.levels.append(OnTokens(*blocks))
            self.sites[f"fusion.{index}"] = Site(2 * site.channels, site.stride)
            self.sites[f"decoder.{index}"] = site
        self.expand = nn.ModuleList(OnTokens(Expand(site.channels, 2, site.channels // 2)) for site in encoder[-2:0:-1])
        width = encoder[0].channels
        self.last = OnTokens(nn.LayerNorm(width), Expand(width, encoder[0].stride[0], width))
        self.head = nn.Conv2d(width, classes, 1, bias=False)
        self.sites[f"decoder.{len(depths)}"] = Site(width, (1, 1))
        self.apply(_initialize)

    def forward(
        self, maps: Sequence[Tensor], size: Sequence[int], at: At = unchanged
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        current, decoded = self.first(maps[-1]), []
        for index, (reduce, level) in enumerate(zip(self.reduce, self.levels, strict=True)):
            if index > 0:
                current = self.expand[index - 1](current)
            joined = at(f"fusion.{index}", torch.cat((current, maps[-2 - index]), 1))
            current = at(f"decoder.{index}", level(reduce(joined)))
            decoded.append(current)
        current = at(f"decoder.{len(decoded)}", self.last(current))
        return (*decoded, current), self.head(current)


class OnTokens(nn.Sequential):
    """Layers that see channels last, between maps (B, C, H, W) whose memory lies so already: nothing is copied."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.permute(0, 2, 3, 1)
        for layer in self:
            tokens = layer(tokens)
        return tokens.permute(0, 3, 1, 2)


class ToMap(nn.Sequential):
    """Layers from an image to channels-last tokens, given as a map (B, C, H, W)."""

    def forward(self, images: Tensor) -> Tensor:
        for layer in self:
            images = layer(images)
        return images.permute(0, 3, 1, 2)


class Expand(nn.Module):
    """Each token becomes ``factor`` x ``factor`` tokens of ``outputs`` channels by a linear layer and LayerNorm."""

    def __init__(self, inputs: int, factor: int, outputs: int) -> None:
        super().__init__()
        self.factor, self.outputs = factor, outputs
        self.linear = nn.Linear(inputs, factor * factor * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, height, width, _ = tokens.shape
        f = self.factor
        parts = self.linear(tokens).view(batch, height, width, f, f, self.outputs).transpose(2, 3)
        expanded: Tensor = self.norm(parts.reshape(batch, height * f, width * f, self.outputs))
        return expanded


def swin_block(channels: int, heads: int, window: int, shifted: bool, drop_path: float) -> nn.Module:
    """timm's Swin block for tokens (B, H, W, channels) of any height and width."""
    import paucis.torchvision_guard  # noqa: F401, I001
    from timm.models.swin_transformer import SwinTransformerBlock

    block: nn.Module = SwinTransformerBlock(
        channels,
        input_resolution=window,
        num_heads=heads,
        window_size=window,
        shift_size=window // 2 if shifted else 0,
        always_partition=True,
        dynamic_mask=True,
        drop_path=drop_path,
    )
    return block


def _swin(channels: int, options: SwinUNetOptions, download: bool) -> Any:
    import paucis.torchvision_guard  # noqa: F401, I001
    import timm

    depths = (2, 2, 6, 2) if download else options.depths
    net = timm.create_model(
        _IMAGENET,
        pretrained=download,
        in_chans=channels,
        num_classes=0,
        strict_img_size=False,
        always_partition=True,
        embed_dim=options.width,
        depths=depths,
        num_heads=options.heads,
        window_size=options.window,
        drop_path_rate=options.drop_path,
    )
    for level, depth in zip(net.layers, options.depths, strict=True):
        level.blocks = level.blocks[:depth]
    return net


def _check(options: SwinUNetOptions) -> None:
    if not len(options.depths) == len(options.heads) == len(options.decoder_depths) + 1 == 4:
        raise PaucisError("network.depths and network.heads name four levels, network.decoder_depths three")
    if any(options.width * 2**level % heads for level, heads in enumerate(options.heads)):
        raise PaucisError(
            f"network.width={options.width} doubled at each level must be a multiple of network.heads={options.heads}"
        )
    published = (96, (3, 6, 12, 24), 7)
    fits = (options.width, options.heads, options.window) == published and all(
        depth <= most for depth, most in zip(options.depths, (2, 2, 6, 2), strict=True)
    )
    if options.pretrained != "none" and not fits:
        raise PaucisError("network.pretrained=imagenet needs Swin-UNet's default width, heads, window and depths")


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
