"""CBAM in any number of dimensions: the libraries have it in 2D only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paucis.networks.blocks import conv, initialize, normalization


class ChannelSpatialAttention(nn.Module):
    """CBAM: weights for channels from their mean and maximum, then for voxels from theirs over channels.

    Args:
        ndim: 2 or 3.
        channels: of the map.
        reduction: channels per hidden channel of the first part.
        kernel: of the second part's convolution, odd.

    Reference:
        S. Woo, J. Park, J.-Y. Lee, I. S. Kweon: CBAM: convolutional block attention module. ECCV 2018.
    """

    def __init__(self, ndim: int, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.channel = nn.Sequential(
            conv(ndim, channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            conv(ndim, hidden, channels, 1, bias=False),
        )
        self.spatial = nn.Sequential(conv(ndim, 2, 1, kernel, bias=False), normalization(ndim, 1, "batch"))
        initialize(self)

    def forward(self, feature: Tensor) -> Tensor:
        axes = tuple(range(2, feature.dim()))
        mean, peak = feature.mean(axes, keepdim=True), feature.amax(axes, keepdim=True)
        feature = feature * (self.channel(mean) + self.channel(peak)).sigmoid()
        over_channels = torch.cat((feature.mean(1, keepdim=True), feature.amax(1, keepdim=True)), 1)
        gate: Tensor = self.spatial(over_channels).sigmoid()
        return feature * gate
