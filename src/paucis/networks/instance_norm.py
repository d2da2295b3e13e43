"""Instance normalization that stays in channels-last memory: several times faster on a CPU than the library's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _PerImage:
    """Normalizes each image of a batch by the batch-normalization kernel, which knows channels-last.

    ``F.instance_norm`` folds images and channels together, which copies a channels-last map to contiguous memory and
    back, forward and backward. Batch normalization of a single image is the same arithmetic without the copies.
    """

    weight: Tensor
    bias: Tensor
    eps: float

    def forward(self, input: Tensor) -> Tensor:  # the library's name
        last = torch.channels_last if input.dim() == 4 else torch.channels_last_3d
        if input.device.type != "cpu" or not input.is_contiguous(memory_format=last) or input[0, 0].numel() == 1:
            return F.instance_norm(input, None, None, self.weight, self.bias, True, 0.0, self.eps)
        images = [
            F.batch_norm(image, None, None, self.weight, self.bias, True, 0.0, self.eps) for image in input.split(1)
        ]
        return torch.cat(images) if len(images) > 1 else images[0]


class InstanceNorm2d(_PerImage, nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` with scale and shift, without running statistics."""


class InstanceNorm3d(_PerImage, nn.InstanceNorm3d):
    """``nn.InstanceNorm3d`` with scale and shift, without running statistics."""
