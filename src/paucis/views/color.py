"""Changes of color, for pictures; images of a single channel stay as they are."""

from __future__ import annotations

from torch import Tensor

from paucis.views.intensity import Intensity


class Saturation(Intensity):
    """Moves each channel away from or towards the mean of all, by a factor from ``1 / (1 + strength)`` on."""

    def amount(self, drawn: Tensor) -> Tensor:
        return (1.0 + self.strength) ** drawn

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        gray = images.mean(1, keepdim=True)
        return gray + (images - gray) * amount


class Gray(Intensity):
    """Takes a share ``strength`` of the color away: every channel becomes the mean of all where it is 1."""

    def amount(self, drawn: Tensor) -> Tensor:
        return drawn * 0 + self.strength

    def change(self, images: Tensor, amount: Tensor, seed: Tensor) -> Tensor:
        return images + (images.mean(1, keepdim=True) - images) * amount
