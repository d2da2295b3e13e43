"""U-Net on a VGG-16 encoder of three sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from paucis.networks.base import register
from paucis.networks.blocks import Resize, conv, conv_stack
from paucis.networks.encoders import VGG_WIDTHS, vgg_encoder
from paucis.networks.pretrained import PretrainedOptions
from paucis.networks.staged import Level, SkipDecoder, StagedNetwork, Stages
from paucis.options import option


@dataclass(frozen=True)
class VGGUNetOptions(PretrainedOptions):
    """Options of the VGG U-Net."""

    size: str = option("tiny", "16, 32 or 64 channels at the finest level", choices=tuple(VGG_WIDTHS))
    upsampling: str = option("nearest", "of the decoder, before its convolutions", choices=("nearest", "interpolate"))


@register("vgg_unet")
class VGGUNet(StagedNetwork):
    """The maps of VGG-16's five groups before pooling, and a light decoder: enlarge, concatenate, two convolutions.

    Sizes ``tiny``, ``small``, ``full`` begin with 16, 32, 64 channels; the tiny encoder has 922,896 parameters with
    three channels in 2D. Each level's second convolution halves its channels, so the decoder's maps have 64, 32, 16,
    16 channels (tiny); ``fusion.3`` is the map on which local discrimination puts its two branches. The images' size is
    a multiple of 16.

    Reference: the network of Chen et al., local discrimination and shape-guided segmentation (downstream form); VGG:
    Simonyan, Zisserman, ICLR 2015.
    """

    Options = VGGUNetOptions

    def build_encoder(self) -> Stages:
        return vgg_encoder(self.task.ndim, self.task.channels, self.options.size, self.options.pretrained)

    def build_decoder(self, options: Any) -> SkipDecoder:
        ndim, sites = self.task.ndim, self.encoder.sites
        inputs, levels = sites[-1].channels, []
        for fine in sites[-2::-1]:
            half = fine.channels if fine is sites[0] else fine.channels // 2
            joined = inputs + fine.channels
            block = conv_stack(ndim, joined, (fine.channels, half))
            levels.append(Level(Resize(ndim, 2, options.upsampling), block, fine.stride, joined, half))
            inputs = half
        head: nn.Module = conv(ndim, inputs, self.task.classes)
        return SkipDecoder(levels, head)
