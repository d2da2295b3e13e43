"""MultiCURE's block: three views of a map, the third led by an uncertainty map, weighed against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.networks.blocks import activation, conv, initialize, normalization
from paucis.networks.deformable import DeformableConv

SQUEEZES = ("layer", "batch")


class MultiCUREBlock(nn.Module):
    """Looks at a map through three kernels and says, channel by channel, how much of each goes on.

    ``u_1`` 3-wide convolution, ``u_2`` 3-wide convolution of dilation 2 (5 voxels wide), ``u_3`` 3-wide deformable
    convolution ``+ U``, U being the uncertainty map brought to the block's size; ``q`` their concatenation, reduced
    to d channels and averaged over space; ``k`` a linear layer of it; ``K_b`` one linear layer of k per branch,
    softmax over the three branches; the block gives ``sum_b K_b u_b``. It keeps shape and channels.

    The uncertainty map reaches the block for the duration of a ``with``, so that the network's forward pass stays as
    it is::

        block = MultiCUREBlock(3, network.sites["fusion.2"].channels)
        network.insert("fusion.2", block)
        with block.guided_by(uncertainty):  # (B, *spatial) of the images
            features = network(images)

    Args:
        spatial_dims: 2 or 3.
        channels: d, of the map.
        groups: of the first two convolutions, reduced to what divides the channels.
        reduction: d over the channels of k, which are at least ``smallest``.
        smallest: channels that k has at least.
        norm: normalization layers of the branches.
        squeeze: normalization of k: ``layer``, or ``batch`` as in the authors' code, which cannot train on one image.

    Reference:
        S. Karimijafarbigloo et al.: Reducing uncertainty in 3D medical image segmentation under limited annotations
        through contrastive learning. MIDL 2024. In the form of the authors' code: grouped convolutions, q reduced to d
        channels before it is averaged, softmax over branches (the paper says over channels: they would not compete).

    Deviations:
        The offsets start at 0 as their authors meant (a later initialization of the whole network overwrote that in
        the public code), and ``squeeze=layer`` is the default.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        *,
        groups: int = 16,
        reduction: int = 16,
        smallest: int = 32,
        norm: str = "batch",
        squeeze: str = "layer",
    ) -> None:
        super().__init__()
        groups, hidden = gcd(groups, channels), max(channels // reduction, smallest)

        def ended(layer: nn.Module) -> nn.Sequential:
            return nn.Sequential(layer, normalization(spatial_dims, channels, norm), activation("relu"))

        self.near = ended(conv(spatial_dims, channels, channels, groups=groups))
        self.wide = ended(conv(spatial_dims, channels, channels, groups=groups, dilation=2))
        deformable = DeformableConv(spatial_dims, channels, channels, 3)
        self.free = ended(deformable)
        self.join = conv(spatial_dims, 3 * channels, channels, 1)
        self.squeeze = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.LayerNorm(hidden) if squeeze == "layer" else nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )
        self.weigh = nn.ModuleList(nn.Linear(hidden, channels) for _ in range(3))
        self.uncertainty: Tensor | None = None
        initialize(self, "kaiming")
        deformable.reset_offsets()  # after everything that draws convolutions

    @contextmanager
    def guided_by(self, uncertainty: Tensor | None) -> Iterator[None]:
        """Within the ``with``, forward passes add this map to the deformable branch; None adds nothing.

        Args:
            uncertainty: (B, *spatial) of the network's images, at least 0; 1 where a voxel is uncertain.
        """
        before, self.uncertainty = self.uncertainty, uncertainty
        try:
            yield
        finally:
            self.uncertainty = before

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, *size) to the same.

        Raises:
            ValueError: the uncertainty map is of another batch, or smaller than the features.
        """
        branches = self.branches(features)
        attention = self.attention(branches).to(features.dtype)
        shape = (*attention.shape[1:], *[1] * (features.dim() - 2))
        weights: list[Tensor] = [part.view(shape) for part in attention]
        first, second, third = (branch * weight for branch, weight in zip(branches, weights, strict=True))
        return first + second + third

    def branches(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three views of a map, each of its shape."""
        free = self.free(features)
        if self.uncertainty is not None:
            free = free + shrunk(self.uncertainty, len(features), features.shape[2:]).to(free.dtype)
        return self.near(features), self.wide(features), free

    def attention(self, branches: Sequence[Tensor]) -> Tensor:
        """(3, B, channels) shares of the branches, in float32; the three of a channel sum to 1."""
        # reduced channels and averaged voxels commute: the average first is a hundred thousand times less work
        means = torch.stack([branch.float().flatten(2).mean(2) for branch in branches], 1).flatten(1)
        with torch.autocast(means.device.type, enabled=False):
            joined = F.linear(means, self.join.weight.flatten(1), self.join.bias)  # type: ignore[arg-type, operator]
            hidden = self.squeeze(joined)
            return torch.stack([layer(hidden) for layer in self.weigh]).softmax(0)


def shrunk(uncertainty: Tensor, count: int, size: Sequence[int]) -> Tensor:
    """The map at a coarser size, (B, 1, *size): the largest value within each place and half a place before it.

    At half the size this is the pooling of the authors' code (3 wide, stride 2).

    Args:
        uncertainty: (B, *spatial).
        count: B that is expected.
        size: of the coarser map; a multiple of it is the map's own.

    Raises:
        ValueError: another batch, or a size that no whole stride leads to.
    """
    given = tuple(uncertainty.shape[1:])
    strides = [fine // coarse for fine, coarse in zip(given, size, strict=True)]
    fits = all(s >= 1 and s * coarse == fine for s, coarse, fine in zip(strides, size, given, strict=True))
    if len(uncertainty) != count or not fits:
        raise ValueError(f"an uncertainty map of {tuple(uncertainty.shape)} does not go with {count} maps of {size}")
    pool = (F.max_pool2d, F.max_pool3d)[len(given) - 2]
    before = [stride // 2 for stride in strides]
    around = [stride + half for stride, half in zip(strides, before, strict=True)]
    return pool(uncertainty.unsqueeze(1).float(), around, strides, before)
