"""A method's features of chosen voxels of a scan."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paucis.batch import Task
from paucis.inference.sliding import starts, triple
from paucis.inference.windows import Autocast
from paucis.methods.base import Method


def embed_voxels(
    image: NDArray[np.float32],
    voxels: NDArray[np.integer],
    method: Method,
    task: Task,
    *,
    autocast: Autocast = nullcontext,
    device: torch.device | str = "cpu",
    maps: Callable[[Tensor], Tensor] | None = None,
) -> NDArray[np.float32]:
    """``Method.embed``, or other maps of a method, at voxels of a prepared image, from windows side by side.

    Memory holds the features of one window. A window without a chosen voxel is not computed.

    Args:
        image: (C, Z, Y, X) as ``prepare`` gives it; padded with zeros on both sides where it is smaller than the patch.
        voxels: (N, 3) places along (Z, Y, X).
        method: in eval mode, on ``device``.
        task: of the method.
        autocast: makes the context that chooses the arithmetic.
        device: where windows are computed.
        maps: (B, C, *patch) to (B, D, *patch); None for ``method.embed``.

    Returns:
        (N, D) features.
    """
    patch = triple((*(1,) * (3 - task.ndim), *task.patch))
    lacking = [max(side - size, 0) for size, side in zip(image.shape[1:], patch, strict=True)]
    before = [lack // 2 for lack in lacking]
    padded = np.pad(image, [(0, 0), *((first, lack - first) for first, lack in zip(before, lacking, strict=True))])
    places = voxels + np.array(before)
    corners = np.stack([_corners(places[:, axis], padded.shape[axis + 1], patch[axis]) for axis in range(3)], 1)
    inside = places - corners
    features: NDArray[np.float32] | None = None
    for corner in np.unique(corners, axis=0):
        mine, begin = (corners == corner).all(1), triple(corner)
        cut = (slice(None), *(slice(first, first + side) for first, side in zip(begin, patch, strict=True)))
        window = torch.from_numpy(padded[cut].copy())[None].to(device)
        with torch.no_grad(), autocast():
            found = (maps or method.embed)(window.squeeze(2) if task.ndim == 2 else window)[0]
        z, y, x = (torch.from_numpy(inside[mine, axis]).to(found.device) for axis in range(3))
        picked: NDArray[Any] = found.reshape(-1, *patch)[:, z, y, x].float().cpu().numpy().T
        if features is None:
            features = np.zeros((len(voxels), picked.shape[1]), np.float32)
        features[mine] = picked
    return np.zeros((0, 0), np.float32) if features is None else features


def _corners(places: NDArray[np.integer], size: int, side: int) -> NDArray[np.integer]:
    """First voxel, along one axis, of the window that each place lies in."""
    first = np.array(starts(size, side, side))
    corners: NDArray[np.integer] = first[np.minimum(places // side, len(first) - 1)]
    return corners
