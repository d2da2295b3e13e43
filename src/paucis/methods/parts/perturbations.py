"""Changes of feature maps that a segmentation should survive. All randomness is torch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def feature_noise(feature: Tensor, limit: float = 0.3) -> Tensor:
    """``f + f * n`` with n even in [-limit, limit], drawn once for the whole batch.

    Args:
        feature: (B, C, *spatial).
        limit: largest relative change.

    Reference:
        Y. Ouali, C. Hudelot, M. Tami: Semi-supervised semantic segmentation with cross-consistency training (CCT).
        CVPR 2020.
    """
    noise = torch.empty_like(feature[0]).uniform_(-limit, limit) if limit else torch.zeros_like(feature[0])
    return feature + feature * noise


def dropped(feature: Tensor, rate: float = 0.3) -> Tensor:
    """Each value at rate ``rate`` set to 0, the rest scaled up: (B, C, *spatial)."""
    return F.dropout(feature, rate, training=True)


def feature_dropout(feature: Tensor, low: float = 0.7, high: float = 0.9) -> Tensor:
    """Removes the most active places: those whose mean over channels is at least u times the image's largest.

    Args:
        feature: (B, C, *spatial).
        low: smallest u; one u is drawn for the whole batch.
        high: largest u.

    Reference: as ``feature_noise``.
    """
    attention = feature.detach().mean(1, keepdim=True)
    share = torch.rand((), device=feature.device) * (high - low) + low
    threshold = attention.flatten(1).amax(1).reshape(-1, *[1] * (feature.ndim - 1)) * share
    return feature * (attention < threshold)
