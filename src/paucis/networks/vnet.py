"""The V-Net that the semi-supervised literature trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from paucis.networks.base import NetworkOptions, Site, register
from paucis.networks.blocks import INITIALIZATIONS, activation, conv, dropout, initialize, normalization, upsample
from paucis.networks.staged import Level, SkipDecoder, StagedNetwork, Stages
from paucis.options import option

_LAYERS = (1, 2, 3, 3, 3)


@dataclass(frozen=True)
class VNetOptions(NetworkOptions):
    """Options of the V-Net, shared with its ResNet-34 sister."""

    filters: int = option(16, "channels of the finest level, doubled at each of four down-samplings", minimum=1)
    normalization: str = option("batch", "normalization layers", choices=("batch", "instance", "group", "none"))
    has_dropout: bool = option(True, "dropout of half the channels, as published")
    upsampling: str = option("transposed", "of the decoder", choices=("transposed", "trilinear", "nearest"))
    initialization: str = option("kaiming", "of the convolutions' weights", choices=INITIALIZATIONS)


@register("vnet")
class VNet(StagedNetwork):
    """V-Net without residual connections: 3-wide convolutions, strided 2-wide ones between levels, additive skips.

    Encoder levels of 1, 2, 3, 3, 3 convolutions with 16 ... 256 channels (9,448,866 parameters in 3D with one channel
    and two classes); dropout of the deepest map and of the last one. The images' size is a multiple of 16.

    Reference: Milletari, Navab, Ahmadi, 3DV 2016, in the form of Yu et al. (UA-MT), MICCAI 2019, on which MC-Net, MCF,
    MultiCURE and AUA build.

    *Deviations*: with ``upsampling=trilinear`` or ``nearest`` the decoder is that of MC-Net (Wu et al., MICCAI 2021).
    In 2D, which the literature does not use it for, the same layers are two-dimensional.
    """

    Options = VNetOptions

    def build_encoder(self) -> Stages:
        options, ndim = self.options, self.task.ndim
        stages, inputs = [], self.task.channels
        for level, layers in enumerate(_LAYERS):
            width = options.filters * 2**level
            parts: list[nn.Module] = []
            if level > 0:
                parts += [conv_layer(ndim, inputs, width, 2, options.normalization)]
                inputs = width
            parts += [plain(ndim, inputs, width, layers, options.normalization)]
            if level == len(_LAYERS) - 1 and options.has_dropout:
                parts += [dropout(ndim, 0.5)]
            stages.append((nn.Sequential(*parts), Site(width, (2**level,) * ndim)))
            inputs = width
        encoder = Stages(stages)
        initialize(encoder, options.initialization)
        return encoder

    def build_decoder(self, options: Any) -> SkipDecoder:
        return additive_decoder(self.task.ndim, self.task.classes, self.encoder.sites, options)


def additive_decoder(ndim: int, classes: int, sites: Sequence[Site], options: VNetOptions) -> SkipDecoder:
    """The decoder of V-Net and its sisters: additive skips, then 3, 3, 2, 1 convolutions, dropout, 1-wide head.

    Args:
        ndim: 2 or 3.
        classes: channels of the logits.
        sites: of the five encoder maps, fine to coarse.
        options: normalization, dropout, up-sampling and initialization.
    """
    kind, levels = options.normalization, []
    for fine, coarse, layers in zip(sites[-2::-1], sites[:0:-1], (3, 3, 2, 1), strict=True):
        factor = tuple(b // a for a, b in zip(fine.stride, coarse.stride, strict=True))
        up = nn.Sequential(
            upsample(ndim, coarse.channels, fine.channels, factor, options.upsampling, kernel=3),
            normalization(ndim, fine.channels, kind),
            activation("relu"),
        )
        block = plain(ndim, fine.channels, fine.channels, layers, kind)
        if fine is sites[0] and options.has_dropout:
            block.append(dropout(ndim, 0.5))
        levels.append(Level(up, block, fine.stride, fine.channels, fine.channels, "add"))
    decoder = SkipDecoder(levels, conv(ndim, sites[0].channels, classes, 1))
    initialize(decoder, options.initialization, decoder.head)
    return decoder


def plain(ndim: int, inputs: int, outputs: int, layers: int, kind: str) -> nn.Sequential:
    """So many 3-wide convolutions, each with normalization and ReLU."""
    rows: list[nn.Module] = []
    for layer in range(layers):
        rows += [
            conv(ndim, inputs if layer == 0 else outputs, outputs),
            normalization(ndim, outputs, kind),
            activation("relu"),
        ]
    return nn.Sequential(*rows)


def conv_layer(ndim: int, inputs: int, outputs: int, stride: int, kind: str) -> nn.Sequential:
    """A convolution whose kernel is its stride, with normalization and ReLU."""
    layer = (nn.Conv2d, nn.Conv3d)[ndim - 2](inputs, outputs, stride, stride)
    return nn.Sequential(layer, normalization(ndim, outputs, kind), activation("relu"))
