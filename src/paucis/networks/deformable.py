"""Deformable convolution in 2D and 3D, without a compiled extension and with bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from paucis.networks.blocks import Axes, per_axis
from paucis.networks.shallow_conv import ShallowConv3d

_AT_ONCE = {"cpu": 2**20}
"""Sampled numbers held at once, by device: small enough for a core's cache on a CPU."""
_AT_ONCE_ELSEWHERE = 2**26


class DeformableConv(nn.Module):
    """A convolution whose taps are displaced by learned offsets, one set for every position of the output.

    ``y(p) = bias + sum_t W_t x(p + t + o_t(p))`` with x interpolated linearly between voxels and 0 outside; the
    offsets are a convolution of x. They are 0 at first: the layer then equals an ordinary convolution of the same
    ``weight`` (out_channels, in_channels, *kernel) and ``bias``.

    The samples of a chunk of positions are gathered by ``embedding_bag``, multiplied, and gathered again in the
    backward pass instead of being kept: memory does not grow with the number of taps. In automatic mixed precision
    samples and products are in its type, positions in float32.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: voxels, per axis or for all; odd where the padding shall keep the size.
        stride: of the output, in voxels of the input.
        padding: voxels of zeros around the input; None keeps the size (over the stride).
        dilation: distance of neighboring taps in voxels.
        bias: whether a learned constant is added.

    Reference:
        J. Dai et al.: Deformable convolutional networks. ICCV 2017.

    Deviations:
        In three dimensions, as MultiCURE (Karimijafarbigloo et al., MIDL 2024) has it. One set of offsets for all
        channels, no modulation.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes = 3,
        *,
        stride: Axes = 1,
        padding: Axes | None = None,
        dilation: Axes = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel = per_axis(kernel_size, spatial_dims)
        self.stride = per_axis(stride, spatial_dims)
        self.dilation = per_axis(dilation, spatial_dims)
        same = tuple(step * (size // 2) for step, size in zip(self.dilation, self.kernel, strict=True))
        self.padding = same if padding is None else per_axis(padding, spatial_dims)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *self.kernel))
        self.bias: nn.Parameter | None = nn.Parameter(torch.empty(out_channels)) if bias else None
        layer: Any = (nn.Conv2d, ShallowConv3d)[spatial_dims - 2]
        self.offset: Any = layer(
            in_channels,
            spatial_dims * math.prod(self.kernel),
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias as PyTorch's convolutions do, and sets the offsets to 0."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Sets the offsets to 0: to be called after an initialization that draws all convolutions anew."""
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, *spatial) to (B, out_channels, *spatial over the stride)."""
        output: Tensor = self.deform(features, self.offset(features))
        return output

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiler would unroll the chunks
    def deform(self, features: Tensor, offsets: Tensor) -> Tensor:
        """The convolution under given offsets.

        Args:
            features: (B, in_channels, *spatial).
            offsets: (B, taps * spatial_dims, *output) in voxels; the axes of a tap follow one another, in the order
                of the spatial axes.
        """
        kind = features.device.type
        if torch.is_autocast_enabled(kind):
            features = features.to(torch.get_autocast_dtype(kind))
        size = tuple(offsets.shape[2:])
        grid = _Grid(tuple(features.shape[2:]), size, self.kernel, self.stride, self.padding, self.dilation)
        count = len(features)
        rows = features.movedim(1, -1).reshape(count, -1, features.shape[1]).contiguous()  # a voxel's channels together
        moved = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
        moved = moved.reshape(count, math.prod(self.kernel), len(size), -1)
        taps = self.weight.flatten(2).permute(2, 1, 0).flatten(0, 1).to(features.dtype)  # (taps * in, out)
        with torch.autocast(kind, enabled=False):
            output: Tensor = _Sampled.apply(rows, moved, taps, grid)  # type: ignore[no-untyped-call]
            if self.bias is not None:
                output = output + self.bias.to(output.dtype)
        return output.view(count, *size, output.shape[-1]).movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"


class _Grid(NamedTuple):
    """Where taps lie: sizes of input and output in voxels, and the convolution's geometry."""

    size: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def chunks(self, channels: int, device: torch.device) -> Iterator[slice]:
        """Positions of the output, so many at a time that their samples fit."""
        at_once = _AT_ONCE.get(device.type, _AT_ONCE_ELSEWHERE)
        step = max(1, at_once // (math.prod(self.kernel) * channels))
        total = math.prod(self.output)
        return (slice(start, min(start + step, total)) for start in range(0, total, step))

    def corners(self, offsets: Tensor, where: slice) -> tuple[Tensor, Tensor]:
        """Rows and weights of the voxels around each tap: (positions * taps, 2^axes), of weight 0 outside.

        Args:
            offsets: (axes, positions, taps) of the positions at ``where``.
        """
        device = offsets.device
        places = _unraveled(torch.arange(where.start, where.stop, device=device), self.output)
        taps = _unraveled(torch.arange(math.prod(self.kernel), device=device), self.kernel)
        found: list[tuple[Tensor, Tensor]] = []  # corner by corner: long rows, which the CPU's vectors suit
        for axis, size in enumerate(self.size):
            start = places[axis] * self.stride[axis] - self.padding[axis]
            whole = start.unsqueeze(1) + taps[axis] * self.dilation[axis]
            at = (offsets[axis] + whole).clamp(-2, size + 1)
            low = at.detach().floor()
            share = at - low
            pair = [_inside(low.int(), 1 - share, size), _inside(low.int() + 1, share, size)]
            found = [(r * size + v, w * p) for r, w in found for v, p in pair] if found else pair
        rows, weights = zip(*found, strict=True)
        return torch.stack(rows, -1).flatten(0, 1), torch.stack(weights, -1).flatten(0, 1)


class _Sampled(torch.autograd.Function):
    """Samples times taps, chunk by chunk; the backward pass samples again."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, offsets: Tensor, taps: Tensor, grid: _Grid) -> Tensor:
        ctx.save_for_backward(rows, offsets, taps)
        ctx.grid = grid
        output = rows.new_empty(len(rows), offsets.shape[-1], taps.shape[1])
        for one, where in _pieces(rows, grid):
            index, weights = grid.corners(_by_axis(offsets[one], where), where)
            torch.mm(_gather(rows[one], index, weights).view(-1, len(taps)), taps, out=output[one, where])
        return output

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, offsets, taps = ctx.saved_tensors
        exact = torch.promote_types(rows.dtype, torch.float32)
        samples_of = rows.to(exact)
        of_rows, of_offsets = torch.zeros_like(samples_of), torch.empty_like(offsets)
        of_taps = torch.zeros_like(taps, dtype=exact)
        with torch.autocast(rows.device.type, enabled=False):
            for one, where in _pieces(rows, ctx.grid):
                with torch.enable_grad():
                    moved = _by_axis(offsets[one], where).requires_grad_(True)
                    index, weights = ctx.grid.corners(moved, where)
                    samples = _gather(samples_of[one], index, weights)
                back = gradient[one, where].contiguous()
                of_samples = (back @ taps.t()).view(samples.shape).to(exact)
                (of_moved,) = torch.autograd.grad(samples, moved, of_samples)
                of_offsets[one, ..., where] = of_moved.permute(2, 0, 1)
                of_taps += samples.detach().view(-1, len(taps)).to(taps.dtype).t() @ back
                _scatter(of_rows[one], index, weights.detach(), of_samples)
        return of_rows.to(rows.dtype), of_offsets, of_taps.to(taps.dtype), None


def _pieces(rows: Tensor, grid: _Grid) -> Iterator[tuple[int, slice]]:
    return ((one, where) for one in range(len(rows)) for where in grid.chunks(rows.shape[-1], rows.device))


def _by_axis(offsets: Tensor, where: slice) -> Tensor:
    """(taps, axes, all positions) to (axes, positions at ``where``, taps)."""
    return offsets[..., where].detach().permute(1, 2, 0).contiguous()


def _gather(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """``sum_j weights[i, j] rows[index[i, j]]``: (samples, channels)."""
    return F.embedding_bag(index, rows, per_sample_weights=weights.to(rows.dtype), mode="sum")


def _scatter(target: Tensor, index: Tensor, weights: Tensor, values: Tensor) -> None:
    """The transpose of ``_gather``, added to ``target``: ``target[index[i, j]] += weights[i, j] values[i]``."""
    if target.device.type != "cpu":
        for corner in range(index.shape[1]):
            target.index_add_(0, index[:, corner], values * weights[:, corner : corner + 1].to(values.dtype))
        return
    # twenty times as fast as index_add_, whose rows come one by one
    low, high = int(index.min()), int(index.max()) + 1
    starts = torch.arange(0, index.numel() + 1, index.shape[1], dtype=torch.int32)
    parts = (weights.to(values.dtype).flatten().numpy(), (index - low).flatten().numpy(), starts.numpy())
    matrix = csr_array(parts, shape=(len(index), high - low))
    target[low:high] += torch.from_numpy(matrix.T @ values.numpy())


def _inside(voxels: Tensor, weights: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Coordinates within the axis, and the weights; 0 for those that lay outside."""
    within = voxels.clamp(0, size - 1)
    return within, weights * within.eq(voxels)


def _unraveled(positions: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Coordinates along each axis of positions in row-major order."""
    axes: list[Tensor] = []
    for size in reversed(shape):
        axes.insert(0, positions % size)
        positions = positions // size
    return axes
