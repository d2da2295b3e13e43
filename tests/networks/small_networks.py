"""Every network small enough to be built and run many times."""

from __future__ import annotations

from typing import Any

import torch

from paucis.batch import Task

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"features": 4, "depth": 2},
    "vnet": {"filters": 4, "has_dropout": False},
    "resnet34": {"filters": 4, "has_dropout": False},
    "resnet50_unet": {"backbone": "resnet18", "widths": (16, 8, 8, 4, 4)},
    "deeplabv3plus": {"backbone": "resnet18", "width": 16, "dropout": 0.0},
    "fcn": {"backbone": "vgg_tiny", "finest": 1},
    "vgg_unet": {"size": "tiny"},
    "swin_unet": {"width": 12, "heads": (1, 2, 3, 6), "window": 3, "drop_path": 0.0},
    "swin_unetr": {"features": 12, "heads": (1, 2, 3, 6), "window": 3},
}
PLANAR_ONLY = ("deeplabv3plus", "swin_unet")
CASES = [(name, ndim) for name in SMALL for ndim in (2, 3) if ndim == 2 or name not in PLANAR_ONLY]
SIZES = {2: (64, 96), 3: (32, 32, 64)}
CLASSES = 4


def small_task(ndim: int, channels: int = 1) -> Task:
    """Four classes, and a patch whose sides differ."""
    return Task(ndim, channels, CLASSES, SIZES[ndim])


def small_images(ndim: int, batch: int = 2, channels: int = 1) -> torch.Tensor:
    return torch.randn(batch, channels, *SIZES[ndim])
