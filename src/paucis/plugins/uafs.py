"""UAFS: uncertainty-aware feature selection at sites of any network; and the attention blocks it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from paucis.errors import PaucisError
from paucis.methods.base import Method
from paucis.networks.base import Network
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
    task, chosen = network.task, chosen_sites(network, sites)
    for site in chosen:
        channels = network.sites[site].channels
        network.insert(site, feature_block(task.ndim, channels, task.classes, block, width, reduction))
    return chosen


def chosen_sites(network: Network, wanted: Sequence[str]) -> list[str]:
    """``named_sites`` of a network of paucis."""
    return named_sites(list(network.sites), wanted, network.name)


def named_sites(sites: Sequence[str], wanted: Sequence[str], network: str) -> list[str]:
    """Names of sites, each once, from names of sites and of kinds of sites.

    Args:
        sites: all there are in the network.
        wanted: names of sites; ``encoder`` stands for all sites ``encoder.N``, and so on.
        network: its name, for messages.

    Raises:
        PaucisError: no such site or kind of sites, or none wanted.
    """
    kinds: dict[str, list[str]] = {}
    for site in sites:
        kinds.setdefault(site.partition(".")[0], []).append(site)
    known = [*kinds, *sites]
    chosen: dict[str, None] = {}
    for name in wanted:
        if name not in known:
            raise PaucisError(
                f"plug.uafs.sites: network '{network}' has no site '{name}'{nearest(name, known)} (there are: "
                f"{', '.join(known)})"
            )
        chosen |= dict.fromkeys(kinds.get(name, [name]))
    if not chosen:
        raise PaucisError("plug.uafs.sites names no site: give encoder, decoder, or names of sites")
    return list(chosen)


def feature_block(
    ndim: int, channels: int, classes: int, block: Block = "uafs", width: int | None = None, reduction: int = 16
) -> nn.Module:
    """A block for maps of ``channels`` channels; the other arguments are those of ``select_features``."""
    if block == "uafs":
        return UncertaintySelection(ndim, channels, classes, width)
    if block == "se":
        return _squeeze_and_excitation(ndim, channels, reduction)
    return _cbam(ndim, channels, reduction)


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
