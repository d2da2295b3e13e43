"""What a method that works on decoders asks of a network: its decoder maps, and further decoders."""

from __future__ import annotations

import torch

from paucis.errors import PaucisError
from paucis.methods.base import Setting
from paucis.networks.base import NETWORKS, Network, Site


def decoder_sites(network: Network) -> tuple[Site, ...]:
    """The sites of a network's decoder maps, coarse to fine, as ``Features.decoder`` has them."""
    named = [name.partition(".") for name in network.sites]
    numbers = sorted(int(number) for place, _, number in named if place == "decoder" and number.isdigit())
    return tuple(network.sites[f"decoder.{number}"] for number in numbers)


def known_network(setting: Setting) -> type[Network] | None:
    """The class of the configured network; None where there is none of that name, which others will say."""
    try:
        return NETWORKS.get(setting.network)
    except PaucisError:
        return None


def needs_further_decoders(setting: Setting, method: str) -> list[str]:
    """A problem where the configured network cannot make a further decoder."""
    kind = known_network(setting)
    if kind is None or kind.new_decoder is not Network.new_decoder:
        return []
    return [
        f"method '{method}' puts further decoders on the encoder, and network '{setting.network}' makes none: "
        "choose another with network=NAME, such as unet or vnet"
    ]


def refuses_patch(setting: Setting, network: str, key: str) -> list[str]:
    """A problem where a further network cannot take the plan's patch.

    Args:
        setting: holds the task.
        network: name of the further network.
        key: the option that names it, for the message.
    """
    task = setting.task
    kind = NETWORKS.get(network)
    if task.ndim not in kind.dims:
        return [f"{key}={network} does not work in {task.ndim}D: choose another"]
    with torch.device("meta"):  # nothing is computed
        multiple = kind(task, kind.Options()).multiple
    if all(size % divisor == 0 for size, divisor in zip(task.patch, multiple, strict=True)):
        return []
    wanted, patch = ("x".join(map(str, sizes)) for sizes in (multiple, task.patch))
    return [
        f"{key}={network} takes sizes that are multiples of {wanted}, and the patch is {patch}: "
        f"change the patch in the plan, or choose another {key}"
    ]
