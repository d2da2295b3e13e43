"""A normal distribution over the logits of a whole image, of low rank plus a diagonal, and the head that gives it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from paucis.losses.precision import no_autocast
from paucis.networks.base import Features, Network
from paucis.networks.blocks import conv, resize_to

LOG_RANGE = (-10.0, 5.0)
"""The logarithm of the diagonal is cut off here: beyond, exp overflows in long trainings."""
FLOOR = 1e-5
QUIET = 0.1
"""Share of PyTorch's draw that factor and diagonal begin with."""
FIRST_LOG = -4.0
"""Logarithm of the diagonal at the start: a standard deviation of 0.14 logits."""


class LowRankNormal(NamedTuple):
    """Logits ``g = mean + F e + sqrt(D) n`` with standard normal e of length r and n: covariance ``F F' + D``.

    Attributes:
        mean: (B, K, *spatial).
        factor: (B, r, K, *spatial), F. Voxels and classes vary together along each of its r maps.
        diagonal: (B, K, *spatial), D, the variance of each logit on its own.
    """

    mean: Tensor
    factor: Tensor
    diagonal: Tensor

    def sample(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """Logits in antithetic pairs ``mean + d``, ``mean - d``, whose mean is the mean: (number, B, K, *spatial).

        Drawn directly: no covariance is built, inverted or decomposed, so nothing can be singular.

        Args:
            number: of samples; the partner of the last is left out where it is odd.
            generator: on the device of the mean; None is torch's own.
        """
        half, images = (number + 1) // 2, len(self.mean)
        codes = self._normal((images, half, self.factor.shape[1]), generator)
        white = self._normal((half, *self.mean.shape), generator)
        with no_autocast(self.mean):
            correlated = torch.bmm(codes, self.factor.flatten(2)).transpose(0, 1).reshape(white.shape)
            deviation = torch.addcmul(correlated, white, self.diagonal.sqrt())
            return torch.cat([self.mean + deviation, self.mean - deviation])[:number]

    def coherent(self, codes: Tensor) -> Tensor:
        """Logits ``mean + F e`` for given e, the same in every image: (S, B, K, *spatial).

        The diagonal is left out: it differs from voxel to voxel at random, and so has nothing that windows of one
        case could share.

        Args:
            codes: (S, r), e.
        """
        repeated = codes.to(self.factor).expand(len(self.mean), -1, -1)
        with no_autocast(self.mean):
            correlated = torch.bmm(repeated, self.factor.flatten(2)).transpose(0, 1)
            return self.mean + correlated.reshape(len(codes), *self.mean.shape)

    def of(self, images: slice) -> LowRankNormal:
        """The distributions of some of the images."""
        return LowRankNormal(*(part[images] for part in (self.mean, self.factor, self.diagonal)))

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return torch.randn(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)


class StochasticHead(nn.Module):
    """Two convolutions of one voxel on the features before a network's head: the factor and the diagonal.

    The mean is that of the network's own head. Samples begin near it: with factors as PyTorch draws them a sample
    shifts a class by more than a logit everywhere, the likelihood teaches the one sample whose shift favours the
    largest class, and rare classes are not learnt for long.

    Args:
        ndim: 2 or 3.
        channels: of the features.
        classes: K.
        rank: r, maps along which voxels vary together.

    Reference:
        M. Monteiro et al.: Stochastic segmentation networks: modelling spatially correlated aleatoric uncertainty.
        NeurIPS 2020; H. Wu, X. Li, K.-T. Cheng: Exploring feature representation learning for semi-supervised medical
        image segmentation. arXiv 2021, Eq. 5.

    Deviations:
        factor and diagonal begin at a tenth of PyTorch's draw, the logarithm of the diagonal at -4; it is cut off at
        -10 and 5. The published code multiplies factor and diagonal by a
        region of interest, where its Cholesky decomposition would fail else; none is taken here.
    """

    def __init__(self, ndim: int, channels: int, classes: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.factor = conv(ndim, channels, rank * classes, 1)
        self.log_diagonal = conv(ndim, channels, classes, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(QUIET)
            self.log_diagonal.get_parameter("bias").fill_(FIRST_LOG)

    def forward(self, features: Tensor, mean: Tensor) -> LowRankNormal:
        """The distribution, in float32.

        Args:
            features: (B, C, *size) before an activation; the maps are interpolated where they are coarser.
            mean: (B, K, *spatial) logits.
        """
        active, size = features.relu(), mean.shape[2:]
        factor = resize_to(self.factor(active), size).float()
        log_diagonal = resize_to(self.log_diagonal(active), size).float().clamp(*LOG_RANGE)
        shape = (len(mean), self.rank, *mean.shape[1:])
        return LowRankNormal(mean.float(), factor.reshape(shape), log_diagonal.exp() + FLOOR)


class StochasticNetwork(nn.Module):
    """A network together with its stochastic head; its logits are the mean.

    Args:
        network: any network; the head sits on its last decoder map.
        channels: of that map.
        rank: as of ``StochasticHead``.
    """

    def __init__(self, network: Network, channels: int, rank: int) -> None:
        super().__init__()
        self.network = network
        self.head = StochasticHead(network.task.ndim, channels, network.task.classes, rank)

    def forward(self, images: Tensor) -> tuple[Features, LowRankNormal]:
        """Features and the distribution of the logits of images (B, C, *spatial)."""
        features: Features = self.network(images)
        return features, self.head(features.decoder[-1], features.logits)
