"""Instance normalization that stays in channels-last memory: several times faster on a CPU than the library's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _per_image(layer: nn.InstanceNorm2d | nn.InstanceNorm3d, images: Tensor) -> Tensor:
    """Normalizes each image of a batch by the batch-normalization kernel, which knows channels-last.

    ``F.instance_norm`` folds images and channels together, which copies a channels-last map to contiguous memory and
    back, forward and backward. Batch normalization of a single image is the same arithmetic without the copies.
    """
    last = torch.channels_last if images.dim() == 4 else torch.channels_last_3d
    if images.device.type != "cpu" or not images.is_contiguous(memory_format=last) or images[0, 0].numel() == 1:
        return F.instance_norm(images, None, None, layer.weight, layer.bias, True, 0.0, layer.eps)
    alone = [
        F.batch_norm(image, None, None, layer.weight, layer.bias, True, 0.0, layer.eps)
        for image in torch.split(images, 1)
    ]
    return torch.cat(alone) if len(alone) > 1 else alone[0]


class InstanceNorm2d(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` with scale and shift, without running statistics."""

    def forward(self, input: Tensor) -> Tensor:  # the library's name
        return _per_image(self, input)


class InstanceNorm3d(nn.InstanceNorm3d):
    """``nn.InstanceNorm3d`` with scale and shift, without running statistics."""

    def forward(self, input: Tensor) -> Tensor:  # the library's name
        return _per_image(self, input)
