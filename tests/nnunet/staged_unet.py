"""A U-Net with the parts by which nnU-Net's are known: stages of an encoder and a decoder, one output per scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONVOLUTIONS = {2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}


def stage(ndim: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    conv = CONVOLUTIONS[ndim][0]
    return nn.Sequential(
        conv(inputs, outputs, 3, stride, 1), nn.LeakyReLU(), conv(outputs, outputs, 3, 1, 1), nn.LeakyReLU()
    )


class Encoder(nn.Module):
    def __init__(self, ndim: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.output_channels = list(channels)
        inputs = (1, *channels[:-1])
        self.stages = nn.Sequential(
            *(stage(ndim, i, o, 1 if n == 0 else 2) for n, (i, o) in enumerate(zip(inputs, channels, strict=True)))
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for part in self.stages:
            images = part(images)
            maps.append(images)
        return maps


class Decoder(nn.Module):
    def __init__(self, ndim: int, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        conv, enlarge = CONVOLUTIONS[ndim]
        upwards = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.enlarge = nn.ModuleList(enlarge(below, skip, 2, 2) for below, skip in upwards)
        self.stages = nn.ModuleList(stage(ndim, 2 * skip, skip, 1) for _, skip in upwards)
        self.heads = nn.ModuleList(conv(skip, classes, 1) for _, skip in upwards)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        below, outputs = maps[-1], []
        for enlarge, part, head, skip in zip(self.enlarge, self.stages, self.heads, maps[-2::-1], strict=True):
            below = part(torch.cat([enlarge(below), skip], 1))
            outputs.append(head(below))
        return outputs[::-1]


class StagedUNet(nn.Module):
    """Outputs (B, classes, ...) of every scale, the finest first."""

    def __init__(self, ndim: int, channels: tuple[int, ...] = (4, 6, 8), classes: int = 3) -> None:
        super().__init__()
        self.encoder = Encoder(ndim, channels)
        self.decoder = Decoder(ndim, channels, classes)

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = self.decoder(self.encoder(images))
        return outputs


def staged_unet(ndim: int, seed: int = 0) -> StagedUNet:
    torch.manual_seed(seed)
    return StagedUNet(ndim)


def images(ndim: int, side: int = 32) -> Tensor:
    return torch.randn(2, 1, *[side] * ndim, generator=torch.Generator().manual_seed(1))


def targets(ndim: int, side: int = 32) -> list[Tensor]:
    """Labels as nnU-Net gives them: (B, 1, ...) of every scale but the coarsest, the finest first."""
    whole = torch.zeros(2, 1, *[side] * ndim, dtype=torch.int16)
    whole[:, :, 4:20, 6:24] = 1
    whole[1, :, 12:, 16:] = 2
    return [whole, whole[(..., *[slice(None, None, 2)] * ndim)]]
