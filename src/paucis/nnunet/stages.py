"""The stages of nnU-Net's networks: their names, their channels, blocks put behind them, and what passes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paucis.errors import PaucisError
from paucis.networks.reach import Reach
from paucis.plugins.uafs import UafsOptions, feature_block, named_sites


def stages(network: nn.Module) -> dict[str, tuple[str, int]]:
    """Submodule and channels of every stage by site: ``encoder.0`` is the finest, ``decoder.0`` the coarsest.

    Raises:
        PaucisError: the network has no encoder and decoder of stages, as nnU-Net's U-Nets have.
    """
    try:
        encoder, decoder = network.encoder, network.decoder
        channels = [int(count) for count in encoder.output_channels]  # type: ignore[union-attr,arg-type]
        counts = len(encoder.stages), len(decoder.stages)  # type: ignore[union-attr,arg-type]
    except AttributeError:
        counts, channels = (0, 0), []
    if counts[0] != len(channels) or counts[1] != len(channels) - 1:
        raise PaucisError(
            f"{type(network).__name__} has no stages of encoder and decoder, as nnU-Net's U-Nets have: choose another "
            "plan or trainer"
        )
    sites = {f"encoder.{number}": (f"encoder.stages.{number}", count) for number, count in enumerate(channels)}
    upwards = channels[-2::-1]
    return sites | {f"decoder.{number}": (f"decoder.stages.{number}", count) for number, count in enumerate(upwards)}


def select_stages(network: nn.Module, ndim: int, classes: int, options: UafsOptions) -> list[str]:
    """Puts a block of feature selection behind stages of one of nnU-Net's networks.

    The blocks are children of the network and run as hooks of the stages, so that all of nnU-Net's weights keep their
    names. Receptive fields do not count them.

    Args:
        network: changed in place.
        ndim: 2 or 3.
        classes: M, background included.
        options: sites and kind of block.

    Returns:
        the names of the sites.

    Raises:
        PaucisError: no such site.
    """
    places = stages(network)
    chosen = named_sites(list(places), options.sites, type(network).__name__)
    blocks = nn.ModuleDict()
    for site in chosen:
        path, channels = places[site]
        block = feature_block(ndim, channels, classes, options.block, options.width, options.reduction)
        blocks[site.replace(".", "_")] = block
        network.get_submodule(path).register_forward_hook(partial(_selected, block))
    network.feature_selection = blocks
    return chosen


def _selected(block: nn.Module, _: nn.Module, __: Any, output: Tensor) -> Tensor:
    if isinstance(output, Reach):
        return output
    selected: Tensor = block(output)
    return selected


class Passed:
    """The maps of stages in the last forward pass that was made for training.

    Args:
        network: one of nnU-Net's.
        sites: whose maps are kept.
    """

    def __init__(self, network: nn.Module, sites: Sequence[str]) -> None:
        self.sites = tuple(sites)
        self._maps: dict[str, Tensor] = {}
        places = stages(network)
        for site in self.sites:
            network.get_submodule(places[site][0]).register_forward_hook(partial(self._keep, site))

    def take(self) -> list[Tensor]:
        """The maps in the order of ``sites``; they are handed over once, so that none outlives its step."""
        maps, self._maps = self._maps, {}
        missing = [site for site in self.sites if site not in maps]
        if missing:
            raise RuntimeError(f"no map of {', '.join(missing)} has passed: the network made no pass for training")
        return [maps[site] for site in self.sites]

    def _keep(self, site: str, module: nn.Module, _: Any, output: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            self._maps[site] = output
