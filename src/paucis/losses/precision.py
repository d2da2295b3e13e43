"""Losses are computed in float32 whatever the networks ran in."""

from __future__ import annotations

import torch
from torch import Tensor


def no_autocast(tensor: Tensor) -> torch.autocast:
    """A context without automatic mixed precision on the device of ``tensor``."""
    return torch.autocast(tensor.device.type, enabled=False)


def full(tensor: Tensor) -> Tensor:
    """``tensor`` in float32 where it came in half precision; float32 and float64 stay as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
