"""Parts that several networks are made of, each for 2D and 3D by ``ndim``."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paucis.networks.instance_norm import InstanceNorm2d, InstanceNorm3d
from paucis.networks.shallow_conv import ShallowConv3d

NORMALIZATIONS = ("instance", "batch", "group", "none")
ACTIVATIONS = ("leaky_relu", "relu", "elu", "gelu")
INITIALIZATIONS = ("kaiming", "xavier", "default")

Axes = int | Sequence[int]


def conv(
    ndim: int,
    inputs: int,
    outputs: int,
    kernel: Axes = 3,
    stride: Axes = 1,
    *,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """A convolution that keeps the size (over its stride); the kernel is odd along every axis."""
    kernels = per_axis(kernel, ndim)
    padding = tuple(dilation * (size // 2) for size in kernels)
    layer: Any = (nn.Conv2d, ShallowConv3d)[ndim - 2]
    made: nn.Module = layer(
        inputs, outputs, kernels, per_axis(stride, ndim), padding, dilation=dilation, groups=groups, bias=bias
    )
    return made


def normalization(ndim: int, channels: int, kind: str) -> nn.Module:
    """One of ``NORMALIZATIONS`` with learned scale and shift; ``group`` has 16 groups where the channels allow it."""
    if kind == "instance":
        return (InstanceNorm2d, InstanceNorm3d)[ndim - 2](channels, affine=True)
    if kind == "batch":
        return (nn.BatchNorm2d, nn.BatchNorm3d)[ndim - 2](channels)
    if kind == "group":
        return nn.GroupNorm(gcd(16, channels), channels)
    return nn.Identity()


def activation(kind: str) -> nn.Module:
    """One of ``ACTIVATIONS``; ``leaky_relu`` has slope 0.01."""
    if kind == "gelu":
        return nn.GELU()
    if kind == "elu":
        return nn.ELU(inplace=True)
    return nn.ReLU(inplace=True) if kind == "relu" else nn.LeakyReLU(0.01, inplace=True)


def dropout(ndim: int, rate: float) -> nn.Module:
    """Dropout of whole channels; nothing at all at rate 0."""
    return (nn.Dropout2d, nn.Dropout3d)[ndim - 2](rate) if rate > 0 else nn.Identity()


def conv_norm_act(
    ndim: int,
    inputs: int,
    outputs: int,
    kernel: Axes = 3,
    stride: Axes = 1,
    *,
    norm: str = "batch",
    act: str = "relu",
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Sequential:
    """Convolution, normalization, activation."""
    return nn.Sequential(
        conv(ndim, inputs, outputs, kernel, stride, dilation=dilation, groups=groups, bias=bias),
        normalization(ndim, outputs, norm),
        activation(act),
    )


def conv_stack(ndim: int, inputs: int, outputs: Sequence[int], *, norm: str = "batch", bias: bool = True) -> nn.Module:
    """3-wide conv-norm-ReLU layers one after another, the widths given by ``outputs``."""
    widths = [inputs, *outputs]
    return nn.Sequential(
        *(conv_norm_act(ndim, a, b, norm=norm, bias=bias) for a, b in zip(widths[:-1], outputs, strict=True))
    )


class Resize(nn.Module):
    """Enlarges a map by a factor per axis: ``linear`` (corner voxels aligned, as the literature) or ``nearest``."""

    def __init__(self, ndim: int, factor: Axes, kind: str) -> None:
        super().__init__()
        self.factor = tuple(float(size) for size in per_axis(factor, ndim))
        self.mode = "nearest" if kind == "nearest" else ("bilinear", "trilinear")[ndim - 2]

    def forward(self, images: Tensor) -> Tensor:
        corners = None if self.mode == "nearest" else True
        return functional.interpolate(images, scale_factor=self.factor, mode=self.mode, align_corners=corners)

    def extra_repr(self) -> str:
        return f"factor={self.factor}, mode={self.mode}"


def upsample(ndim: int, inputs: int, outputs: int, factor: Axes, kind: str, kernel: int = 1) -> nn.Module:
    """Enlarges a map and changes its channels.

    Args:
        ndim: 2 or 3.
        inputs: channels before.
        outputs: channels after.
        factor: enlargement per axis.
        kind: ``transposed`` (kernel and stride are the factor), ``nearest``, or anything else for linear.
        kernel: of the convolution that goes with interpolation: 1 acts before it (the 2D U-Net of the
            semi-supervised literature), 3 after it (MC-Net's V-Net).
    """
    if kind == "transposed":
        factors = per_axis(factor, ndim)
        layer: Any = (nn.ConvTranspose2d, nn.ConvTranspose3d)[ndim - 2]
        transposed: nn.Module = layer(inputs, outputs, factors, factors)
        return transposed
    change, resize = conv(ndim, inputs, outputs, kernel), Resize(ndim, factor, kind)
    return nn.Sequential(change, resize) if kernel == 1 else nn.Sequential(resize, change)


def resize_to(images: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """The map at a given spatial size, linearly interpolated; itself where it has that size."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    mode = ("bilinear", "trilinear")[images.dim() - 4]
    return functional.interpolate(images, size=tuple(size), mode=mode, align_corners=align_corners)


def initialize(module: nn.Module, kind: str = "kaiming", head: nn.Module | None = None) -> None:
    """Weights of convolutions from Kaiming's (fan-in) or Xavier's normal distribution, normalization layers at 1 and 0.

    A transposed convolution whose kernel is its stride starts with one weight for all places of its kernel, and so
    enlarges as nearest neighbours do. With a weight for each place every map would begin as a checkerboard, which short
    trainings do not undo: stripes one voxel wide stay in the masks (A. Aitken et al., arXiv:1707.02937, on
    sub-pixel convolution).

    A head begins with no preference among the classes: its weights for a class have mean 0, and no bias. The maps
    before it are not negative, so a mean would be a class everywhere: one of a logit or two by the lot, which an
    optimizer of small steps takes a hundred of them to undo.

    ``default`` leaves what PyTorch drew. Biases of other convolutions always stay as PyTorch draws them.

    Args:
        module: what is initialised.
        kind: one of ``INITIALIZATIONS``.
        head: of its parts, the convolution that gives one channel per class.
    """
    if kind == "default":
        return
    draw = nn.init.xavier_normal_ if kind == "xavier" else nn.init.kaiming_normal_
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            draw(part.weight)
            if isinstance(part, nn.ConvTranspose2d | nn.ConvTranspose3d) and part.kernel_size == part.stride:
                _same_everywhere(part.weight, kind)
        elif isinstance(part, nn.modules.batchnorm._NormBase | nn.GroupNorm) and part.weight is not None:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    if isinstance(head, nn.Conv2d | nn.Conv3d):
        with torch.no_grad():
            head.weight.sub_(head.weight.flatten(1).mean(1).reshape(-1, *[1] * (head.weight.dim() - 1)))
            if head.bias is not None:
                head.bias.zero_()


def _same_everywhere(weight: Tensor, kind: str) -> None:
    """Redraws (inputs, outputs, *kernel) as a convolution of one voxel, repeated over the kernel."""
    point = weight.new_empty(weight.shape[1], weight.shape[0])  # as a linear layer has it: fan-in is the inputs
    (nn.init.xavier_normal_ if kind == "xavier" else nn.init.kaiming_normal_)(point)
    with torch.no_grad():
        weight.copy_(point.T.reshape(*point.T.shape, *[1] * (weight.dim() - 2)).expand_as(weight))


def per_axis(value: Axes, ndim: int) -> tuple[int, ...]:
    """A number for every axis."""
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def scaled(stride: Sequence[int], factor: Sequence[int]) -> tuple[int, ...]:
    """A stride after a further down-sampling."""
    return tuple(a * b for a, b in zip(stride, factor, strict=True))
