"""DeepLabV3+."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paucis.networks.base import At, Decoder, Site, register, unchanged
from paucis.networks.blocks import conv, conv_norm_act, initialize, resize_to
from paucis.networks.encoders import RESNETS, resnet_encoder
from paucis.networks.pretrained import PretrainedOptions, with_imagenet
from paucis.networks.staged import StagedNetwork, Stages
from paucis.options import option

_XCEPTIONS = ("tu-xception41", "tu-xception65")


@dataclass(frozen=True)
class DeepLabV3PlusOptions(PretrainedOptions):
    """Options of DeepLabV3+."""

    backbone: str = option("resnet50", "the encoder; tu-xception65 as published", choices=(*_XCEPTIONS, *RESNETS))
    output_stride: int = option(16, "stride of the deepest map; what follows is dilated", choices=(8, 16))
    separable: bool = option(False, "depth-wise separable convolutions in pyramid and decoder")
    width: int = option(256, "channels of pyramid and decoder", minimum=1)
    dropout: float = option(
        0.5, "after the pyramid; the decoder has it too, then a fifth of it", minimum=0.0, maximum=0.95
    )


@register("deeplabv3plus")
class DeepLabV3Plus(StagedNetwork):
    """Dilated encoder, atrous spatial pyramid pooling, and a decoder that joins the map of stride 4. 2D only.

    Rates of the pyramid are 6, 12, 18 at output stride 16 and twice that at 8. Sites: ``encoder.N``; of the decoder
    ``decoder.0`` after the pyramid, ``lowlevel.0`` after the 48-channel projection of the finer map, ``fusion.0`` where
    both are concatenated (304 channels), ``decoder.1`` the layer before the head, at stride 4. Xception's encoder has
    nine maps: two of the stem (32, 64), three of the entry flow (128, 256, 728), the middle flow with the first exit
    block (1024), and the last three separable convolutions (1536, 1536, 2048).

    Reference: Chen, Zhu, Papandreou, Schroff, Adam, ECCV 2018; decoder and dropout as PDCR and UAFS use it.

    *Deviations*: the pyramid's image pooling has a bias instead of batch normalization, which cannot be computed from
    a batch of one image.
    """

    Options = DeepLabV3PlusOptions
    dims = (2,)

    def build_encoder(self) -> Stages:
        options, channels = self.options, self.task.channels
        if options.backbone in _XCEPTIONS:
            return xception_encoder(channels, options.backbone[3:], options.pretrained, options.output_stride)
        return resnet_encoder(2, channels, options.backbone, options.pretrained, output_stride=options.output_stride)

    def build_decoder(self, options: Any) -> Decoder:
        return PyramidDecoder(self.encoder.sites, self.task.classes, options)


class PyramidDecoder(Decoder):
    """Pyramid on the deepest map, joined with the last map of stride 4.

    Args:
        encoder: sites of the encoder's maps, fine to coarse.
        classes: channels of the logits.
        options: width, dropout, separable convolutions, output stride.
    """

    def __init__(self, encoder: Sequence[Site], classes: int, options: DeepLabV3PlusOptions) -> None:
        super().__init__()
        width = options.width
        self.low = max(index for index, site in enumerate(encoder) if site.stride == (4, 4))
        self.pyramid = Pyramid(encoder[-1].channels, options)
        self.project = conv_norm_act(2, encoder[self.low].channels, 48, 1, bias=False)
        self.refine = nn.Sequential(
            wide(width + 48, width, 1, options.separable),
            nn.Dropout(options.dropout),
            wide(width, width, 1, options.separable),
            nn.Dropout(options.dropout / 5),
        )
        self.head = conv(2, width, classes, 1)
        self.sites = {
            "decoder.0": Site(width, encoder[-1].stride),
            "lowlevel.0": Site(48, (4, 4)),
            "fusion.0": Site(width + 48, (4, 4)),
            "decoder.1": Site(width, (4, 4)),
        }
        initialize(self, head=self.head)

    def forward(
        self, maps: Sequence[Tensor], size: Sequence[int], at: At = unchanged
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        deep = at("decoder.0", self.pyramid(maps[-1]))
        low = at("lowlevel.0", self.project(maps[self.low]))
        joined = at("fusion.0", torch.cat((resize_to(deep, low.shape[2:], align_corners=True), low), 1))
        fine = at("decoder.1", self.refine(joined))
        return (deep, fine), resize_to(self.head(fine), size, align_corners=True)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: a 1-wide convolution, three dilated ones, and the mean over the image."""

    def __init__(self, inputs: int, options: DeepLabV3PlusOptions) -> None:
        super().__init__()
        width, step = options.width, 96 // options.output_stride
        rates = (step, 2 * step, 3 * step)
        self.branches = nn.ModuleList(
            [
                conv_norm_act(2, inputs, width, 1, bias=False),
                *(wide(inputs, width, r, options.separable) for r in rates),
            ]
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(2, inputs, width, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(conv_norm_act(2, 5 * width, width, 1, bias=False), nn.Dropout(options.dropout))

    def forward(self, images: Tensor) -> Tensor:
        rows = [branch(images) for branch in self.branches]
        pooled = self.pool(images).expand_as(rows[0])
        fused: Tensor = self.project(torch.cat((*rows, pooled), 1))
        return fused


def wide(inputs: int, outputs: int, rate: int, separable: bool) -> nn.Sequential:
    """A 3-wide convolution of a dilation rate with normalization and ReLU, depth-wise separable or not."""
    if not separable:
        return conv_norm_act(2, inputs, outputs, dilation=rate, bias=False)
    depthwise = conv(2, inputs, inputs, dilation=rate, groups=inputs, bias=False)
    return nn.Sequential(depthwise, conv_norm_act(2, inputs, outputs, 1, bias=False))


def xception_encoder(channels: int, name: str, pretrained: str, output_stride: int) -> Stages:
    """timm's aligned Xception, cut where the published sites lie."""

    def make(download: bool) -> Any:
        import paucis.torchvision_guard  # noqa: F401, I001
        import timm

        return timm.create_model(
            name, pretrained=download, in_chans=channels, num_classes=0, output_stride=output_stride
        )

    tags = {"xception41": "tf_in1k", "xception65": "ra3_in1k"}
    net = with_imagenet(make, pretrained, name, f"timm/{name}.{tags[name]}")
    blocks = list(net.blocks)
    parts = [*net.stem, *blocks[:3], nn.Sequential(*blocks[3:-1]), *blocks[-1].stack]
    widths = (32, 64, 128, 256, 728, 1024, 1536, 1536, 2048)
    strides = (2, 2, 4, 8, 16, 32, 32, 32, 32)
    return Stages(
        (part, Site(width, (min(stride, output_stride),) * 2))
        for part, width, stride in zip(parts, widths, strides, strict=True)
    )
