"""The U-Net whose depth and strides the plan chooses."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.networks.base import NetworkOptions, Site, register
from paucis.networks.blocks import (
    ACTIVATIONS,
    INITIALIZATIONS,
    NORMALIZATIONS,
    activation,
    conv,
    dropout,
    initialize,
    normalization,
    scaled,
    upsample,
)
from paucis.networks.staged import Level, SkipDecoder, StagedNetwork, Stages
from paucis.options import option

_DEPTH = 4


@dataclass(frozen=True)
class UNetOptions(NetworkOptions):
    """Options of the U-Net."""

    features: int = option(32, "channels of the finest level, doubled at each down-sampling", minimum=1)
    max_features: int = option(320, "channels are never more than this", minimum=1)
    depth: int | None = option(None, "number of down-samplings; none takes the plan's, or 4 without a plan", minimum=1)
    normalization: str = option("instance", "normalization layers", choices=NORMALIZATIONS)
    dropout: tuple[float, ...] = option(
        (0.0,), "rate inside the encoder's blocks: one for all levels, or one per level", minimum=0.0, maximum=0.95
    )
    activation: str = option("leaky_relu", "after every normalization", choices=ACTIVATIONS)
    downsampling: str = option("stride", "strided convolution or maximum", choices=("stride", "pool"))
    upsampling: str = option("interpolate", "of the decoder", choices=("transposed", "interpolate", "nearest"))
    head: int = option(1, "kernel of the last convolution; the 2D semi-supervised literature has 3", choices=(1, 3))
    initialization: str = option("kaiming", "of the convolutions' weights", choices=INITIALIZATIONS)


@register("unet")
class UNet(StagedNetwork):
    """U-Net with two convolutions a level and concatenated skips; depth, strides and kernels follow the plan.

    The plan's strides may differ between axes. Along an axis whose spacing is at least twice the finest one at a
    level, the level's kernels are 1 wide. The 2D U-Net of the semi-supervised literature (Luo et al., SSL4MIS;
    1,813,764 parameters with one channel and four classes) is ``features=16 normalization=batch depth=4
    dropout=0.05,0.1,0.2,0.3,0.5 downsampling=pool upsampling=interpolate head=3``.

    Reference: Ronneberger, Fischer, Brox, MICCAI 2015; Cicek et al., MICCAI 2016; the planning of strides and
    kernels follows Isensee et al., Nature Methods 2021.

    Raises:
        PaucisError: ``dropout`` names another number of levels than there are, or a deeper network than the patch
            allows.
    """

    Options = UNetOptions

    def __init__(self, task: Task, options: UNetOptions) -> None:
        self.strides = planned_strides(task, options.depth)
        self.rates = _rates(options.dropout, len(self.strides) + 1)
        _fits(task, self.strides)
        super().__init__(task, options)

    def build_encoder(self) -> Stages:
        options, ndim = self.options, self.task.ndim
        inputs, stride, stages = self.task.channels, (1,) * ndim, []
        for level, factor in enumerate(((1,) * ndim, *self.strides)):
            stride = scaled(stride, factor)
            width = min(options.features * 2**level, options.max_features)
            pooled = options.downsampling == "pool" and max(factor) > 1
            pool = [(nn.MaxPool2d, nn.MaxPool3d)[ndim - 2](factor)] if pooled else []
            kernel = _kernel(self.task, stride)
            first = tuple(max(k, 3) if f > 1 else k for k, f in zip(kernel, factor, strict=True))
            block = double_conv(
                ndim, inputs, width, options, (first, kernel), (1,) * ndim if pooled else factor, self.rates[level]
            )
            stages.append((nn.Sequential(*pool, block), Site(width, stride)))
            inputs = width
        encoder = Stages(stages)
        initialize(encoder, options.initialization)
        return encoder

    def build_decoder(self, options: Any) -> SkipDecoder:
        ndim, sites, levels = self.task.ndim, self.encoder.sites, []
        for fine, coarse, factor in zip(sites[-2::-1], sites[:0:-1], self.strides[::-1], strict=True):
            kernel = _kernel(self.task, fine.stride)
            up = upsample(ndim, coarse.channels, fine.channels, factor, options.upsampling)
            block = double_conv(ndim, 2 * fine.channels, fine.channels, options, (kernel, kernel), (1,) * ndim, 0.0)
            levels.append(Level(up, block, fine.stride, 2 * fine.channels, fine.channels))
        decoder = SkipDecoder(levels, conv(ndim, sites[0].channels, self.task.classes, options.head))
        initialize(decoder, options.initialization, decoder.head)
        return decoder


def double_conv(
    ndim: int,
    inputs: int,
    outputs: int,
    options: UNetOptions,
    kernels: tuple[tuple[int, ...], tuple[int, ...]],
    stride: tuple[int, ...],
    rate: float,
) -> nn.Sequential:
    """Convolution, normalization, activation, twice, with dropout between; the first convolution may be strided."""
    return nn.Sequential(
        conv(ndim, inputs, outputs, kernels[0], stride),
        normalization(ndim, outputs, options.normalization),
        activation(options.activation),
        dropout(ndim, rate),
        conv(ndim, outputs, outputs, kernels[1]),
        normalization(ndim, outputs, options.normalization),
        activation(options.activation),
    )


def planned_strides(task: Task, depth: int | None) -> tuple[tuple[int, ...], ...]:
    """Factor of each down-sampling: the plan's, cut or continued by halving to ``depth`` where that is given."""
    planned = tuple(factor for factor in task.strides if max(factor) > 1)  # a first level at full size is none
    wanted = depth or len(planned) or _DEPTH
    return (*planned, *((2,) * task.ndim,) * wanted)[:wanted]


def _kernel(task: Task, stride: tuple[int, ...]) -> tuple[int, ...]:
    if not task.spacing:
        return (3,) * task.ndim
    spacing = [mm * step for mm, step in zip(task.spacing, stride, strict=True)]
    return tuple(1 if mm >= 2 * min(spacing) else 3 for mm in spacing)


def _rates(rates: tuple[float, ...], levels: int) -> tuple[float, ...]:
    if len(rates) == 1:
        return rates * levels
    if len(rates) != levels:
        raise PaucisError(
            f"network.dropout names {len(rates)} levels and the network has {levels}: give one or {levels}"
        )
    return rates


def _fits(task: Task, strides: tuple[tuple[int, ...], ...]) -> None:
    total = [prod(factor[axis] for factor in strides) for axis in range(task.ndim)]
    if task.patch and prod(size // step for size, step in zip(task.patch, total, strict=True)) < 2:
        patch = "x".join(map(str, task.patch))
        raise PaucisError(
            f"{len(strides)} down-samplings leave no more than one voxel of the patch {patch}: lower network.depth "
            "or enlarge the patch"
        )
