"""From the planned grid back to the scan's, slab by slab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from paucis.inference.sliding import Maps, Shape, Slab

DEPTH = 32


def restore(slabs: Iterable[Slab], source: Shape, target: Shape, *, depth: int = DEPTH) -> Iterator[Slab]:
    """Linear interpolation of a volume that arrives in slabs, equal to that of the whole volume.

    Voxel centers follow the half-pixel rule (``align_corners=False``). Of the input, only the slices that a later
    output slice needs are kept.

    Args:
        slabs: ranges of Z in order, maps (k, n, Y, X), that cover a volume of shape ``source``.
        source: (Z, Y, X) of the planned grid.
        target: (Z, Y, X) of the scan's grid.
        depth: slices of an output slab; only the last may have fewer, so slabs of several members can be zipped.

    Yields:
        Slabs that cover ``target``.
    """
    below, above, share = _sources(source[0], target[0])
    done, kept_from = 0, 0
    kept: Maps = {}
    ready: list[Maps] = []
    waiting = 0  # slices in ready
    for slab in slabs:
        kept = {
            name: torch.cat([kept[name], values], 1) if name in kept else values for name, values in slab.maps.items()
        }
        while done + waiting < target[0] and above[done + waiting] < slab.stop:
            first = done + waiting
            last = min(first + depth - waiting, target[0])
            while above[last - 1] >= slab.stop:
                last -= 1
            low, high = below[first:last] - kept_from, above[first:last] - kept_from
            ready.append({name: _interpolate(v, low, high, share[first:last], target[1:]) for name, v in kept.items()})
            waiting += last - first
            if waiting == depth or done + waiting == target[0]:
                yield Slab(done, done + waiting, _joined(ready))
                done, waiting, ready = done + waiting, 0, []
        following = int(below[done + waiting]) if done + waiting < target[0] else slab.stop
        drop = min(following, slab.stop) - kept_from
        kept = {name: values[:, drop:] for name, values in kept.items()}
        kept_from += drop


def _sources(size: int, wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``wanted`` slices: the slice below, the slice above, and the share of the one above."""
    position = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (size / wanted) - 0.5).clamp(0, size - 1)
    below = position.floor().long()
    return below, (below + 1).clamp(max=size - 1).minimum(position.ceil().long()), (position - below).float()


def _interpolate(values: Tensor, low: Tensor, high: Tensor, share: Tensor, plane: tuple[int, int]) -> Tensor:
    """Slices between ``low`` and ``high`` of (k, n, Y, X), at the size ``plane`` within the slice."""
    low, high = low.to(values.device), high.to(values.device)
    slices = values[:, low]
    if bool(share.any()):
        slices = torch.lerp(slices, values[:, high], share.to(values.device).view(1, -1, 1, 1))
    if slices.shape[2:] != torch.Size(plane):
        slices = functional.interpolate(slices, size=plane, mode="bilinear", align_corners=False)
    return slices


def _joined(pieces: list[Maps]) -> Maps:
    if len(pieces) == 1:
        return pieces[0]
    return {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
