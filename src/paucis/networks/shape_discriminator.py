"""The discriminator that tells reference shapes from what a network found."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from paucis.networks.blocks import conv

POOLED, PLAIN = (1, 16, 32, 32, 32, 32), (32, 32, 32)
"""Channels of the layers that are pooled after, and of those that are not and whose convolutions are not padded."""
LEAST = 2 * len(PLAIN[1:]) + 1
"""Voxels along each axis of the smallest map that it takes."""


class ShapeDiscriminator(nn.Module):
    """Judges whether a map of one channel is a reference mask: one logit, above 0 for yes.

    Five 3-wide convolutions, each followed by leaky ReLU and 2-wide max-pooling, two without padding or pooling, the
    mean over what is left, two linear layers. In 2D it has 52,129 parameters.

    Args:
        ndim: 2 or 3.
        slope: of the leaky ReLU below 0; 1 leaves the layers linear.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440, section 6.2.1.

    Deviations:
        An axis is pooled only while five voxels or more are left, what the two last convolutions need: at the published
        448 x 448 that is five times. The paper names seven poolings, more than its pictures have room for, and the
        published code gives its activations a slope of 1.
    """

    def __init__(self, ndim: int, slope: float = 0.2) -> None:
        super().__init__()
        self.ndim, self.slope = ndim, slope
        plain: Any = (nn.Conv2d, nn.Conv3d)[ndim - 2]
        self.pooled = nn.ModuleList(conv(ndim, a, b) for a, b in pairwise(POOLED))
        self.plain = nn.ModuleList(plain(a, b, 3) for a, b in pairwise(PLAIN))
        self.judge = nn.Sequential(nn.Linear(PLAIN[-1], PLAIN[-1]), nn.LeakyReLU(slope), nn.Linear(PLAIN[-1], 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (B,) of maps (B, 1, *spatial) with values in [0, 1], at least five voxels along each axis."""
        pool: Any = (F.max_pool2d, F.max_pool3d)[self.ndim - 2]
        current = maps
        for layer in self.pooled:
            current = F.leaky_relu(layer(current), self.slope)
            current = pool(current, tuple(2 if size // 2 >= LEAST else 1 for size in current.shape[2:]))
        for layer in self.plain:
            current = F.leaky_relu(layer(current), self.slope)
        logits: Tensor = self.judge(current.flatten(2).mean(2))
        return logits.squeeze(1)
