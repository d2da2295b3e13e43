"""Mean, spread and quantiles of a channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_QUANTILES = {"p005": 0.005, "p500": 0.5, "p995": 0.995}
_MOST = 4_000_000


def summarize(voxels: NDArray[Any]) -> tuple[dict[str, float], int]:
    """Statistics over the finite voxels of a channel.

    Quantiles are exact for up to four million voxels; beyond, they are those of every n-th voxel.

    Args:
        voxels: of any shape.

    Returns:
        ``mean, std, min, max, p005, p500, p995`` (all 0 when no voxel is finite), and the number of voxels that are
        NaN or infinite.
    """
    flat = voxels.ravel()
    if not np.issubdtype(flat.dtype, np.integer):
        finite = np.isfinite(flat)
        flat = flat if finite.all() else flat[finite]
    lost = voxels.size - flat.size
    if flat.size == 0:
        return dict.fromkeys(("mean", "std", "min", "max", *_QUANTILES), 0.0), lost
    sample = flat[:: -(-flat.size // _MOST)]
    quantiles = np.quantile(sample.astype(np.float32), list(_QUANTILES.values()))
    return {
        "mean": float(flat.mean(dtype=np.float64)),
        "std": float(flat.std(dtype=np.float64)),
        "min": float(flat.min()),
        "max": float(flat.max()),
        **{name: float(value) for name, value in zip(_QUANTILES, quantiles, strict=True)},
    }, lost
