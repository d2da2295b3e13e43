"""Fully convolutional network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from paucis.networks.base import register
from paucis.networks.blocks import conv, initialize, normalization, upsample
from paucis.networks.encoders import RESNETS, VGG_WIDTHS, resnet_encoder, vgg_encoder
from paucis.networks.pretrained import PretrainedOptions
from paucis.networks.staged import Level, SkipDecoder, StagedNetwork, Stages
from paucis.options import option


@dataclass(frozen=True)
class FCNOptions(PretrainedOptions):
    """Options of the FCN."""

    backbone: str = option("vgg_full", "the encoder", choices=(*(f"vgg_{size}" for size in VGG_WIDTHS), *RESNETS))
    finest: int = option(8, "stride down to which maps are joined: 8 as FCN-8s, 1 joins all", choices=(8, 4, 2, 1))
    upsampling: str = option("transposed", "of the decoder", choices=("transposed", "interpolate", "nearest"))


@register("fcn")
class FCN(StagedNetwork):
    """VGG-16 (strides 2 to 32) or ResNet, whose deepest map is enlarged and added to the finer ones in turn.

    With ``finest=8`` the maps of strides 16 and 8 are joined and the logits enlarged eight-fold, as FCN-8s; with
    ``finest=1`` every pooling's map is joined (512, 256, 128, 64, 32 channels), the form that PDCR and UAFS were tried
    on. The images' size is a multiple of 32.

    Reference: Long, Shelhamer, Darrell, CVPR 2015; VGG: Simonyan, Zisserman, ICLR 2015.

    *Deviations*: features, not class scores, are added, so that the last map can serve other losses; every enlargement
    is normalized; VGG's two fully connected layers, made for 224 x 224 photographs, are left out.
    """

    Options = FCNOptions

    def build_encoder(self) -> Stages:
        options, task = self.options, self.task
        kind, _, size = options.backbone.partition("_")
        if kind == "vgg":
            return vgg_encoder(task.ndim, task.channels, size, options.pretrained, pooled=True)
        return resnet_encoder(task.ndim, task.channels, options.backbone, options.pretrained)

    def build_decoder(self, options: Any) -> SkipDecoder:
        ndim, sites = self.task.ndim, self.encoder.sites
        inputs, levels = sites[-1].channels, []
        for fine in sites[-2::-1]:
            if fine.stride[0] < options.finest:
                break
            up = _enlarge(ndim, inputs, fine.channels, options.upsampling)
            levels.append(Level(up, nn.Identity(), fine.stride, fine.channels, fine.channels, "add"))
            inputs = fine.channels
        if options.finest == 1:
            width = sites[0].channels // 2
            levels.append(
                Level(_enlarge(ndim, inputs, width, options.upsampling), nn.Identity(), (1,) * ndim, None, width)
            )
            inputs = width
        decoder = SkipDecoder(levels, conv(ndim, inputs, self.task.classes, 1))
        initialize(decoder, head=decoder.head)
        return decoder


def _enlarge(ndim: int, inputs: int, outputs: int, kind: str) -> nn.Sequential:
    return nn.Sequential(
        upsample(ndim, inputs, outputs, 2, kind), normalization(ndim, outputs, "batch"), nn.ReLU(inplace=True)
    )
