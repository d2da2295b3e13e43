"""Views of whole images for contrastive pretraining, and the vector of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paucis.batch import Task
from paucis.networks.base import Network
from paucis.networks.local_head import freeze_beyond
from paucis.options import option
from paucis.views.affine import Affine
from paucis.views.augment import rotations_in_space
from paucis.views.base import View
from paucis.views.color import Gray, Saturation
from paucis.views.compose import Compose
from paucis.views.flip import Flip
from paucis.views.intensity import Blur, Brightness, Contrast

Head = Literal["linear", "mlp", "normalized"]
"""A projection: one layer; two with ReLU between; two with batch normalization and ReLU between."""


@dataclass(frozen=True)
class ImageViewOptions:
    """How the views of an image differ, beyond the base augmentation that they share."""

    rotation: float = option(15.0, "largest rotation of a view in degrees", minimum=0.0)
    scale: float = option(0.4, "largest change of scale (0.4: factors from 1/1.4 to 1.4)", minimum=0.0)
    translation: float = option(0.15, "largest shift as a share of the shortest side", minimum=0.0, maximum=1.0)
    brightness: float = option(0.4, "largest shift of a view's intensity, in standard deviations", minimum=0.0)
    contrast: float = option(0.4, "largest stretch of a view's contrast (0.4: factors from 1/1.4 to 1.4)", minimum=0.0)
    saturation: float = option(0.4, "likewise of color, in images of three channels", minimum=0.0)
    gray: float = option(0.2, "how often a view of three channels loses its color", minimum=0.0, maximum=1.0)
    blur: float = option(1.0, "largest standard deviation of a blur in voxels; half of the views have one", minimum=0.0)


class ImageViews:
    """Draws a view of each image, another at every call.

    Args:
        task: ndim, patch, spacing, flips, channels.
        options: strengths.
    """

    def __init__(self, task: Task, options: ImageViewOptions) -> None:
        spacing = task.spacing or (1.0,) * task.ndim
        shift = options.translation * min(task.patch)
        chain: list[View[Any]] = [Flip(task.flips)] if task.flips else []
        chain.append(Affine(rotations_in_space(spacing, options.rotation), options.scale, shift, spacing))
        self.chain = Compose(*chain, *intensity_changes(task, options))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """A view of images (B, C, *spatial)."""
        params = self.chain.sample(len(images), images.shape[2:], torch.default_generator)
        return self.chain.image(images, params)


def intensity_changes(task: Task, options: ImageViewOptions) -> list[View[Any]]:
    """Those changes of a view that leave every voxel in its place."""
    spacing = task.spacing or (1.0,) * task.ndim
    changes: list[View[Any]] = [Brightness(options.brightness), Contrast(options.contrast)]
    changes.append(Blur(options.blur, 0.5, spacing))
    if task.channels == 3:
        changes += [Saturation(options.saturation), Gray(1.0, options.gray)]
    return changes


def deepest(network: Network) -> str:
    """The site of a network's deepest encoder map."""
    return max((site for site in network.sites if site.startswith("encoder.")), key=lambda site: int(site[8:]))


class EncodedImages(nn.Module):
    """A network's encoder with a projection: what of a network contrast of whole images trains.

    Args:
        network: its decoder is frozen.
        dim: length of an image's vector, D.
        head: the projection.
    """

    def __init__(self, network: Network, dim: int, head: Head = "mlp") -> None:
        super().__init__()
        self.network = network
        site = deepest(network)
        freeze_beyond(network, site)
        self.channels = network.sites[site].channels
        first, last = nn.Linear(self.channels, self.channels), nn.Linear(self.channels, dim)
        norm: nn.Module = nn.BatchNorm1d(self.channels) if head == "normalized" else nn.Identity()
        self.project: nn.Module = last if head == "linear" else nn.Sequential(first, norm, nn.ReLU(), last)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, D): the projection of the mean of the deepest map."""
        projected: Tensor = self.project(self.encode(images).flatten(2).mean(2))
        return projected

    def encode(self, images: Tensor) -> Tensor:
        """The deepest map (B, C, *size)."""
        return self.network.encode(images)[-1]
