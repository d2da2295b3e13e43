"""The two sides of adversarial training: to pass as labeled, and to tell labeled from unlabeled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paucis.methods.base import Phase, trainable
from paucis.methods.parts.modes import evaluating


def discriminator_phase(discriminator: nn.Module, rate: float) -> Phase:
    """The phase that trains the discriminator, with the settings of the published code."""
    settings: dict[str, Any] = {
        "kind": "adam",
        "rate": rate,
        "betas": (0.9, 0.99),
        "weight_decay": 0.0,
        "schedule": "constant",
    }
    return Phase("discriminator", trainable(discriminator), settings)


def fooling_loss(discriminator: nn.Module, maps: Tensor, images: Tensor) -> Tensor:
    """``-log D(labeled | maps, images)``, mean over images: small where unlabeled images pass as labeled.

    The discriminator's dropout is off, as in the published code.
    """
    with evaluating(discriminator):
        logits = discriminator(maps, images).float()
    return F.cross_entropy(logits, torch.ones(len(logits), dtype=torch.long, device=logits.device))


def telling_apart_loss(discriminator: nn.Module, maps: Tensor, images: Tensor, labeled: int) -> Tensor:
    """Cross-entropy of telling the first ``labeled`` images from the rest; ``maps`` are detached here."""
    logits = discriminator(maps.detach(), images).float()
    target = (torch.arange(len(logits), device=logits.device) < labeled).long()
    return F.cross_entropy(logits, target)
