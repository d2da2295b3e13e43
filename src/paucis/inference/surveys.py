"""A look at a whole scan before its windows are predicted, for methods whose answers depend on all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paucis.inference.sliding import ArrayLike, Shape, Slab, slabs
from paucis.methods.parts.surveying import Surveyor

SHARES = "probabilities"

Autocast = Callable[[], AbstractContextManager[Any]]


def surveyed(
    image: ArrayLike,
    method: Surveyor,
    patch: Shape,
    *,
    field: ArrayLike | None = None,
    overlap: float = 0.5,
    autocast: Autocast = nullcontext,
    device: torch.device | str = "cpu",
) -> Tensor:
    """What a method adds up over a prepared image: its maps averaged over windows, within the field of view.

    Args:
        image: (C, Z, Y, X).
        method: in eval mode, on ``device``.
        patch: window size (Z, Y, X); Z = 1 for slices.
        field: (Z, Y, X), 0 outside the field of view; None counts all.
        overlap: of windows.
        autocast: makes the context that chooses the arithmetic.
        device: where windows are computed.
    """

    def ask(windows: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), autocast():
            return {"survey": method.survey(windows).float()}

    total: Tensor | None = None
    for slab in slabs(image, patch, ask, overlap=overlap, device=device):
        maps = slab.maps["survey"].unsqueeze(0)
        inside = torch.ones_like(maps[:, 0], dtype=torch.bool)
        if field is not None:
            inside &= torch.from_numpy(np.asarray(field[slab.start : slab.stop]) > 0).to(inside.device)
        part = method.summary(maps, inside)
        total = part if total is None else total + part
    assert total is not None
    return total


def answered(
    image: ArrayLike,
    method: Surveyor,
    patch: Shape,
    *,
    field: ArrayLike | None = None,
    overlap: float = 0.5,
    autocast: Autocast = nullcontext,
    device: torch.device | str = "cpu",
) -> Iterator[Slab]:
    """The probabilities of a prepared image by a method that has looked at all of it, slab by slab; as ``surveyed``."""
    summary = surveyed(image, method, patch, field=field, overlap=overlap, autocast=autocast, device=device)

    def ask(windows: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), autocast():
            return {SHARES: method.answer(windows, summary).additive[SHARES].float()}

    return slabs(image, patch, ask, overlap=overlap, device=device)
