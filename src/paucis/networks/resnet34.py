"""The ResNet-34 encoder-decoder that the semi-supervised literature pairs with V-Net."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from paucis.networks.base import Site, register
from paucis.networks.blocks import conv, initialize, normalization
from paucis.networks.staged import SkipDecoder, StagedNetwork, Stages
from paucis.networks.vnet import VNetOptions, additive_decoder

_BLOCKS = (3, 4, 6, 3)


@register("resnet34")
class ResNet34(StagedNetwork):
    """A ResNet-34 encoder of small width, with V-Net's decoder.

    A 7-wide convolution at full size without pooling, then 3, 4, 6, 3 basic blocks, every group at half the size of the
    one before, with 16, 32, 64, 128, 256 channels (17,930,354 parameters in 3D with one channel and two classes);
    dropout of the last map only. The images' size is a multiple of 16.

    Reference: He et al., CVPR 2016, in the form of Wang et al. (MCF), CVPR 2023, and MultiCURE, MIDL 2024.

    *Deviations*: as for V-Net in 2D and with interpolating decoders.
    """

    Options = VNetOptions

    def build_encoder(self) -> Stages:
        options, ndim = self.options, self.task.ndim
        width, kind = options.filters, options.normalization
        stem = nn.Sequential(
            conv(ndim, self.task.channels, width, 7, bias=False),
            normalization(ndim, width, kind),
            nn.ReLU(inplace=True),
        )
        stages: list[tuple[nn.Module, Site]] = [(stem, Site(width, (1,) * ndim))]
        for level, count in enumerate(_BLOCKS, start=1):
            inputs, outputs = width * 2 ** (level - 1), width * 2**level
            first = BasicBlock(ndim, inputs, outputs, 2, kind)
            rest = [BasicBlock(ndim, outputs, outputs, 1, kind) for _ in range(count - 1)]
            stages.append((nn.Sequential(first, *rest), Site(outputs, (2**level,) * ndim)))
        encoder = Stages(stages)
        initialize(encoder, options.initialization)
        return encoder

    def build_decoder(self, options: Any) -> SkipDecoder:
        return additive_decoder(self.task.ndim, self.task.classes, self.encoder.sites, options)


class BasicBlock(nn.Module):
    """Two 3-wide convolutions beside a shortcut (1-wide where size or channels change), added before the last ReLU."""

    def __init__(self, ndim: int, inputs: int, outputs: int, stride: int, kind: str) -> None:
        super().__init__()
        self.main = nn.Sequential(
            conv(ndim, inputs, outputs, 3, stride, bias=False),
            normalization(ndim, outputs, kind),
            nn.ReLU(inplace=True),
            conv(ndim, outputs, outputs, bias=False),
            normalization(ndim, outputs, kind),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(conv(ndim, inputs, outputs, 1, stride, bias=False), normalization(ndim, outputs, kind))
        )

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.main(images) + self.shortcut(images), inplace=True)
