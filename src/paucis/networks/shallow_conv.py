"""A guard against wrong gradients of bf16 convolutions on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ShallowConv3d(nn.Conv3d):
    """A 3D convolution that calculates in float32 where bf16 on a CPU would give garbage.

    On a map that is shallower than the kernel (2 voxels along the first axis under a 3-wide kernel, as at the bottom of
    a network), oneDNN's bf16 kernel for the weights' gradient reads memory that nobody wrote, and with wider kernels
    writes past its end (PyTorch 2.13, AVX512-BF16). The gradient is then arbitrary, now and then not finite. Such
    maps are small, so that float32 costs nothing.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2] < self.kernel_size[0] and _bf16_on_cpu(input):
            with torch.autocast("cpu", enabled=False):
                bias = None if self.bias is None else self.bias.float()
                output: Tensor = self._conv_forward(input.float(), self.weight.float(), bias)
                return output.bfloat16()
        return super().forward(input)


def guard_convolutions(module: nn.Module) -> nn.Module:
    """Turns every 3D convolution within a module, such as a library's, into a ``ShallowConv3d``; gives the module."""
    for part in module.modules():
        if type(part) is nn.Conv3d:
            part.__class__ = ShallowConv3d
    return module


def _bf16_on_cpu(images: Tensor) -> bool:
    if images.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return images.dtype == torch.bfloat16
