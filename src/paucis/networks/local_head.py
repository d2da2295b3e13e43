"""The two branches of local discrimination on a map of any network: a vector and a cluster for every voxel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paucis.errors import PaucisError
from paucis.networks.base import Network
from paucis.networks.blocks import conv, conv_norm_act
from paucis.registry import nearest

_TINY = 1e-9


class EmbeddingBranch(nn.Module):
    """Two convolutions; the vector of every voxel is brought to length 1, in float32.

    Args:
        ndim: 2 or 3.
        channels: of the map it sits on.
        dim: length of a vector, K.
    """

    def __init__(self, ndim: int, channels: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_norm_act(ndim, channels, channels), conv(ndim, channels, dim))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels, *size) to (B, dim, *size)."""
        return nn.functional.normalize(self.layers(feature).float(), dim=1, eps=1e-6)


class ClusteringBranch(nn.Module):
    """Two convolutions and a sigmoid; the shares of every voxel are divided by their sum, in float32.

    Args:
        ndim: 2 or 3.
        channels: of the map it sits on.
        clusters: C.
    """

    def __init__(self, ndim: int, channels: int, clusters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_norm_act(ndim, channels, clusters), conv(ndim, clusters, clusters))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels, *size) to (B, clusters, *size), adding up to 1 over clusters."""
        shares: Tensor = self.layers(feature).float().sigmoid() + _TINY
        return shares / shares.sum(1, keepdim=True)


def branch_site(network: Network, asked: str = "auto") -> str:
    """The site whose map the branches sit on.

    ``auto`` is where the paper puts them on its VGG network: between the last skip connection and the convolutions
    that follow it. On any other network it is the last decoder map, so that all but its head is pretrained.

    Raises:
        PaucisError: no such site.
    """
    last = {place: max(_numbers(network, place), default=None) for place in ("fusion", "decoder")}
    if asked == "auto":
        place = "fusion" if network.name == "vgg_unet" else "decoder"
        return f"{place}.{last[place]}"
    if asked not in network.sites:
        raise PaucisError(
            f"method.site={asked}: network '{network.name}' has no such site{nearest(asked, list(network.sites))} "
            f"(auto, {', '.join(network.sites)})"
        )
    return asked


def freeze_beyond(network: Network, site: str) -> None:
    """Takes the gradient from all parameters that the map at ``site`` does not depend on: they stay as they are."""
    mode, own = network.training, torch.random.get_rng_state()
    image = torch.zeros(1, network.task.channels, *(2 * size for size in network.multiple))
    network.eval()
    with torch.enable_grad(), network.tap([site]) as maps:
        network(image)
        parameters = list(network.parameters())
        grads = torch.autograd.grad(maps[site].sum(), parameters, allow_unused=True)
    network.train(mode)
    torch.random.set_rng_state(own)
    for parameter, grad in zip(parameters, grads, strict=True):
        if grad is None:
            parameter.requires_grad_(False)


def _numbers(network: Network, place: str) -> list[int]:
    found = [name.partition(".") for name in network.sites]
    return [int(number) for name, _, number in found if name == place and number.isdigit()]
