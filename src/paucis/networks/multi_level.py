"""One embedding of every pixel from the maps of several levels of a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from paucis.networks.base import Site
from paucis.networks.blocks import conv


class MultiLevelEmbedding(nn.Module):
    """A 1-wide convolution of several maps, each enlarged to the images' size by repeating its voxels.

    Each level's part of the convolution acts before the enlargement, with which it commutes: the concatenation of all
    levels at full size never exists.

    Args:
        spatial_dims: 2 or 3.
        sites: of the maps.
        channels: of the embedding.

    Reference:
        The features ``f_{l:L}`` in Eq. 4 of S. Karimijafarbigloo et al. (MultiCURE), MIDL 2024: 16 channels from the
        last three blocks of the decoder in the authors' code.
    """

    def __init__(self, spatial_dims: int, sites: Sequence[Site], channels: int = 16) -> None:
        super().__init__()
        self.widths = tuple(site.channels for site in sites)
        self.mix: Any = conv(spatial_dims, sum(self.widths), channels, 1)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Maps in the order of the sites to (B, channels, *size)."""
        convolve = (F.conv2d, F.conv3d)[len(size) - 2]
        parts = self.mix.weight.split(self.widths, 1)
        embedding = convolve(maps[-1], parts[-1], self.mix.bias)
        embedding = F.interpolate(embedding, size=tuple(size), mode="nearest")
        for features, part in zip(maps[:-1], parts[:-1], strict=True):
            embedding = embedding + F.interpolate(convolve(features, part), size=tuple(size), mode="nearest")
        return embedding
