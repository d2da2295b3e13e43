"""A mask and its uncertainty from several looks at the same image."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor

from paucis.uncertainty.entropy import entropy


def binary_entropy(shares: Tensor) -> Tensor:
    """``-r log2 r - (1 - r) log2(1 - r)`` of every element of ``shares``, which lie in [0, 1]; so does it."""
    return entropy(torch.stack([1 - shares, shares]).unsqueeze(0), normalized=True)[0]


class Looks:
    """Sums over several looks at an image, all brought back to its geometry, and what they come to.

    Args:
        size: of the image.
        count: how many looks there are going to be, E.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440, Eq. 21-22.

    Deviations:
        The printed Eq. 22 has the logarithm of ``1 - r`` within another bracket. Logarithms are to base 2.
    """

    def __init__(self, size: Sequence[int], count: int) -> None:
        self.count = count
        self.shares, self.entropies = torch.zeros(tuple(size)), torch.zeros(tuple(size))

    def add(self, shares: Tensor, place: slice | EllipsisType = ...) -> None:
        """Adds one look, or the part of it at ``place`` along the first axis: the share r of each voxel."""
        shares = shares.float().cpu()
        self.shares[place] += shares
        self.entropies[place] += binary_entropy(shares)

    @property
    def mask(self) -> Tensor:
        """``mean over looks of r > 1/2``, bool (Eq. 21)."""
        return self.shares > 0.5 * self.count

    @property
    def uncertainty(self) -> Tensor:
        """``u = -(1/E) sum_e [r_e log2 r_e + (1 - r_e) log2(1 - r_e)]`` in [0, 1] (Eq. 22).

        It is the mean of the looks' entropies, not the entropy of their mean.
        """
        return (self.entropies / self.count).clamp(0, 1)
