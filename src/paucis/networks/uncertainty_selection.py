"""UAFS: a block that lifts those vectors of a map about which it is sure."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from paucis.networks.blocks import conv, initialize, normalization
from paucis.networks.shown import Shown


class UncertaintySelection(nn.Module):
    """Uncertainty-aware feature selection of a map H: ``H' = H (2 - U)`` (Eq. 8 to 10).

    ``A = softmax(conv1(ReLU(BN(conv3(H)))))`` has one channel per class, and U is its entropy divided by the logarithm
    of the number of classes. A gets no labels of its own: it learns from the losses of the network alone.

    Args:
        ndim: 2 or 3.
        channels: of H.
        classes: M.
        width: channels of the hidden layer; None takes 16 in 2D and a quarter of H's in 3D, as the published code.

    Reference:
        patch-dragsaw contrastive regularization and uncertainty-aware feature selection (PDCR, UAFS), Section 4.

    Deviations:
        the last convolution starts at a tenth of its usual size, so that a block begins unsure everywhere and leaves
        the map as it is; the paper does not say how it starts. At the usual size U varies by 0.25 from the first step,
        which multiplies the map by noise. The published code has two classes whatever the task, and dropout in some of
        the blocks.
    """

    def __init__(self, ndim: int, channels: int, classes: int, width: int | None = None) -> None:
        super().__init__()
        hidden = width or (16 if ndim == 2 else max(channels // 4, 1))
        last: Any = conv(ndim, hidden, classes, 1)
        self.segment = nn.Sequential(
            conv(ndim, channels, hidden, bias=False), normalization(ndim, hidden, "batch"), nn.ReLU(inplace=True), last
        )
        self.shown = Shown()
        initialize(self)
        with torch.no_grad():
            last.weight.mul_(0.1)
            nn.init.zeros_(last.bias)

    def uncertainty(self, feature: Tensor) -> Tensor:
        """(B, 1, *spatial) in [0, 1], float32: the normalized entropy of the block's own segmentation."""
        logits: Tensor = self.segment(feature)
        with torch.autocast(feature.device.type, enabled=False):
            logs = logits.float().log_softmax(1)
            return -(logs.exp() * logs).sum(1, keepdim=True) / math.log(logs.shape[1])

    def forward(self, feature: Tensor) -> Tensor:
        """The map with its certain vectors up to twice as long."""
        uncertainty: Tensor = self.shown(self.uncertainty(feature))
        return feature * (2 - uncertainty).to(feature.dtype)
