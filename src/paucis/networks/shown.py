"""Maps that blocks within a network let one see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional

T = TypeVar("T")


class Shown(nn.Identity):
    """Passes on a map (B, 1, *spatial) of an inserted block, which ``observe`` records."""


def observe(module: nn.Module, act: Callable[[], T], size: Sequence[int]) -> tuple[T, dict[str, Tensor]]:
    """What ``act`` returns, and the maps that inserted blocks show in the forward passes it makes.

    Args:
        module: a method or network with ``Shown`` maps in its inserted blocks.
        act: makes a forward pass; of several through the same block the last one counts.
        size: spatial size to which the maps are enlarged.

    Returns:
        the result, and maps (B, 1, *size) float32 by site (``encoder.0``); where several networks of a method ran,
        the network's name stands before the site (``second.encoder.0``).
    """
    maps: dict[str, Tensor] = {}
    shown = [(path, part) for path, part in module.named_modules() if isinstance(part, Shown)]
    handles = [part.register_forward_hook(_recorder(maps, path)) for path, part in shown]
    try:
        result = act()
    finally:
        for handle in handles:
            handle.remove()
    owners = {path.partition("inserted.")[0] for path in maps}
    found = {}
    for path, values in maps.items():
        owner, _, place = path.partition("inserted.")
        site = place.split(".")[0].replace("/", ".")
        mode = ("bilinear", "trilinear")[values.dim() - 4]
        enlarged = functional.interpolate(values.float(), tuple(size), mode=mode, align_corners=False)
        found[site if len(owners) == 1 else owner + site] = enlarged
    return result, found


def _recorder(maps: dict[str, Tensor], path: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def record(_: nn.Module, __: Any, output: Tensor) -> None:
        maps[path] = output.detach()

    return record
