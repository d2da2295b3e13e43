"""The fully convolutional discriminator of adversarial methods."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTHS = (1, 2, 4, 8)
_CELLS = {2: 2, 3: 1}


class Discriminator(nn.Module):
    """Judges whether maps (probabilities, distances) belong to an image of the labeled set: logits of no and yes.

    A 4-wide convolution of stride 2 each on the maps and on the image, added; three more with 2, 4 and 8 times as
    many channels; leaky ReLU of slope 0.2 after each, dropout of channels between them; mean over a few cells; linear.

    Args:
        ndim: 2 or 3.
        maps: channels of the maps.
        images: channels of the images.
        features: channels of the first level.
        dropout: rate between the convolutions.

    Reference:
        Y. Zhang et al.: Deep adversarial networks for biomedical image segmentation utilizing unannotated images.
        MICCAI 2017, in the form of the public semi-supervised benchmarks.

    *Deviations*: the last pooling is adaptive (2 x 2 cells in 2D, 1 in 3D) instead of 7 voxels wide, and an axis of
    one voxel is padded to two, so that any size of input will do; at the published sizes (256 x 256, 96^3,
    112 x 112 x 80) the numbers of parameters are equal. The sum of map and image is activated in 2D too.
    """

    def __init__(self, ndim: int, maps: int, images: int, features: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[ndim - 2]
        widths = [features * factor for factor in _WIDTHS]
        self.on_maps = conv(maps, widths[0], 4, 2, 1)
        self.on_images = conv(images, widths[0], 4, 2, 1)
        self.further = nn.ModuleList(conv(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.dropout = (nn.Dropout2d, nn.Dropout3d)[ndim - 2](dropout)
        self.pool = (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[ndim - 2](_CELLS[ndim])
        self.classifier = nn.Linear(widths[-1] * _CELLS[ndim] ** ndim, 2)

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """Logits (B, 2) of maps (B, channels, *spatial) and images (B, C, *spatial) of the same size."""
        current = F.leaky_relu(self.on_maps(_wide(maps)) + self.on_images(_wide(images)), 0.2)
        for layer in self.further:
            current = F.leaky_relu(layer(_wide(self.dropout(current))), 0.2)
        logits: Tensor = self.classifier(torch.flatten(self.pool(current), 1))
        return logits


def _wide(tensor: Tensor) -> Tensor:
    """At least two voxels along every axis, what a 4-wide convolution of stride 2 needs."""
    missing = [int(size < 2) for size in tensor.shape[2:]]
    return F.pad(tensor, [pad for size in reversed(missing) for pad in (0, size)]) if any(missing) else tensor
