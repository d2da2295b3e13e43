"""UAFS: uncertainty-aware feature selection at sites of any network; and the attention blocks it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from paucis.errors import PaucisError
from paucis.methods.base import Method
from paucis.networks.base import Network, Site
from paucis.networks.channel_spatial_attention import ChannelSpatialAttention
from paucis.networks.uncertainty_selection import UncertaintySelection
from paucis.options import option
from paucis.plugins.base import Plugin, register
from paucis.registry import nearest

Block = Literal["uafs", "se", "cbam"]


@dataclass(frozen=True)
class UafsOptions:
    """Options of UAFS."""

    sites: tuple[str, ...] = option(
        ("encoder", "decoder"), "sites of the networks; the part before the dot stands for all sites of that kind"
    )
    block: Literal["uafs", "se", "cbam"] = option(
        "uafs", "the block: UAFS, or squeeze-and-excitation or CBAM to compare it with"
    )
    width: int | None = option(
        None, "hidden channels of UAFS; none = 16 in 2D, a quarter of the map's in 3D, as the published code", minimum=1
    )
    reduction: int = option(16, "channels per hidden channel of squeeze-and-excitation and CBAM", minimum=1)


@register("uafs")
class UAFS(Plugin):
    """A small block at each chosen site lifts the vectors about which it is sure (Eq. 8 to 10).

    The blocks are part of the networks from then on: trained, saved and used at inference with them. All networks of
    a method that take a gradient get blocks of their own; a teacher has the moving average of its student's.

    Reference:
        patch-dragsaw contrastive regularization and uncertainty-aware feature selection (PDCR, UAFS), Section 4.
    """

    Options = UafsOptions
    options: UafsOptions

    def attach(self, method: Method) -> None:
        """Inserts the blocks.

        Raises:
            PaucisError: a network has no such site.
        """
        options = self.options
        for network in method.networks():
            select_features(network, options.sites, options.block, options.width, options.reduction)


def select_features(
    network: Network,
    sites: Sequence[str] = ("encoder", "decoder"),
    block: Block = "uafs",
    width: int | None = None,
    reduction: int = 16,
) -> list[str]:
    """Inserts feature selection into a network.

    Args:
        network: changed in place.
        sites: names of sites; ``encoder`` stands for all sites ``encoder.N``, and so on.
        block: ``uafs``; ``se`` or ``cbam`` to compare it with.
        width: hidden channels of UAFS, see ``UncertaintySelection``.
        reduction: channels per hidden channel of the two others.

    Returns:
        the names of the sites.

    Raises:
        PaucisError: no such site or kind of sites.
    """
    make = _maker(network, block, width, reduction)
    chosen = chosen_sites(network, sites)
    for site in chosen:
        network.insert(site, make(network.sites[site]))
    return chosen


def chosen_sites(network: Network, wanted: Sequence[str]) -> list[str]:
    """Names of a network's sites, each once, from names of sites and of kinds of sites.

    Raises:
        PaucisError: no such site or kind of sites, or none wanted.
    """
    kinds: dict[str, list[str]] = {}
    for site in network.sites:
        kinds.setdefault(site.partition(".")[0], []).append(site)
    chosen: dict[str, None] = {}
    for name in wanted:
        if name not in network.sites and name not in kinds:
            known = [*kinds, *network.sites]
            raise PaucisError(
                f"plug.uafs.sites: network '{network.name}' has no site '{name}'{nearest(name, known)} (there are: "
                f"{', '.join(known)})"
            )
        chosen |= dict.fromkeys(kinds.get(name, [name]))
    if not chosen:
        raise PaucisError("plug.uafs.sites names no site: give encoder, decoder, or names of sites")
    return list(chosen)


def _maker(network: Network, block: Block, width: int | None, reduction: int) -> Callable[[Site], nn.Module]:
    ndim, classes = network.task.ndim, network.task.classes

    def make(site: Site) -> nn.Module:
        channels = site.channels
        if block == "uafs":
            return UncertaintySelection(ndim, channels, classes, width)
        if block == "se":
            return _squeeze_and_excitation(ndim, channels, reduction)
        return _cbam(ndim, channels, reduction)

    return make


def _squeeze_and_excitation(ndim: int, channels: int, reduction: int) -> nn.Module:
    from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer

    made: nn.Module = ChannelSELayer(ndim, channels, r=min(reduction, channels))
    return made


def _cbam(ndim: int, channels: int, reduction: int) -> nn.Module:
    if ndim == 3:
        return ChannelSpatialAttention(3, channels, reduction)
    import paucis.torchvision_guard  # noqa: F401, I001
    from timm.layers.cbam import CbamModule

    made: nn.Module = CbamModule(channels, rd_ratio=1 / reduction)
    return made
