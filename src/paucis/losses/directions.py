"""Vectors as directions."""

from __future__ import annotations

import torch
from torch import Tensor

_SHORTEST = 1e-6


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors at length 1. One of length zero (below 1e-6) has no direction: it becomes zero and gets no gradient.

    Args:
        vectors: float32 or float64.
        dim: along which a vector's entries lie.
    """
    length = vectors.norm(dim=dim, keepdim=True)
    directed = length > _SHORTEST
    return torch.where(directed, vectors / torch.where(directed, length, 1.0), 0.0)
