"""U-Net on a ResNet-50 encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paucis.errors import PaucisError
from paucis.networks.base import register
from paucis.networks.blocks import Resize, conv, conv_stack, initialize
from paucis.networks.encoders import RESNETS, resnet_encoder
from paucis.networks.pretrained import PretrainedOptions
from paucis.networks.staged import Level, SkipDecoder, StagedNetwork, Stages
from paucis.options import option


@dataclass(frozen=True)
class ResNet50UNetOptions(PretrainedOptions):
    """Options of the U-Net on a ResNet."""

    backbone: str = option("resnet50", "the encoder", choices=RESNETS)
    widths: tuple[int, ...] = option((256, 128, 64, 32, 16), "channels of the five decoder levels", minimum=1)
    upsampling: str = option("nearest", "of the decoder, before its convolutions", choices=("nearest", "interpolate"))


@register("resnet50_unet")
class ResNet50UNet(StagedNetwork):
    """ResNet-50 (five maps, strides 2 to 32) and a decoder of five levels: enlarge, concatenate, two convolutions.

    The last level, at full size, has no skip connection. The encoder is segmentation-models-pytorch's in 2D, with
    ImageNet weights as an option, and MONAI's in 3D. The images' size is a multiple of 32.

    Reference: the CNN branch of UGPCL (Wang et al., MICCAI 2022); He et al., CVPR 2016.
    """

    Options = ResNet50UNetOptions

    def build_encoder(self) -> Stages:
        options = self.options
        return resnet_encoder(self.task.ndim, self.task.channels, options.backbone, options.pretrained)

    def build_decoder(self, options: Any) -> SkipDecoder:
        ndim, sites = self.task.ndim, self.encoder.sites
        skips = [*((site.channels, site.stride) for site in sites[-2::-1]), (0, (1,) * ndim)]
        if len(options.widths) != len(skips):
            raise PaucisError(f"network.widths={options.widths} must name {len(skips)} levels, coarse to fine")
        inputs, levels = sites[-1].channels, []
        for (skip, stride), width in zip(skips, options.widths, strict=True):
            block = conv_stack(ndim, inputs + skip, (width, width), bias=False)
            joined = inputs + skip if skip else None
            levels.append(Level(Resize(ndim, 2, options.upsampling), block, stride, joined, width))
            inputs = width
        decoder = SkipDecoder(levels, conv(ndim, inputs, self.task.classes))
        initialize(decoder, head=decoder.head)
        return decoder
