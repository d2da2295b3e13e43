"""Methods whose answer for a window of a scan depends on the whole scan."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from paucis.methods.base import Method, Prediction


class Surveyor(Protocol):
    """What is asked about a scan: ``Surveying``, or one that sees it in another way."""

    def survey(self, images: Tensor) -> Tensor: ...
    def summary(self, maps: Tensor, inside: Tensor) -> Tensor: ...
    def answer(self, images: Tensor, summary: Tensor | None) -> Prediction: ...


class Surveying(Method):
    """A method that looks at all of a scan before it answers for any window of it.

    Prediction asks every window for ``survey``, averages these maps over the windows, adds up ``summary`` of all parts
    of the scan, and gives the sum to ``answer`` with every window. Alone, ``predict`` takes each image for a scan.
    """

    @property
    def looks_first(self) -> bool:
        """Whether the answer that is chosen needs a survey."""
        return True

    def survey(self, images: Tensor) -> Tensor:
        """Maps (B, S, *spatial) of windows, which may be averaged over windows."""
        raise NotImplementedError

    def summary(self, maps: Tensor, inside: Tensor) -> Tensor:
        """What adds up over the parts of a scan.

        Args:
            maps: (B, S, *spatial) of ``survey``.
            inside: (B, *spatial) bool, the field of view.
        """
        raise NotImplementedError

    def answer(self, images: Tensor, summary: Tensor | None) -> Prediction:
        """Probabilities of windows (B, C, *spatial) of scans with these summaries, one each; None without a survey."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of images that are each a scan of their own."""
        if not self.looks_first:
            return self.answer(images, None)
        everywhere = torch.ones_like(images[:, 0], dtype=torch.bool)
        return self.answer(images, self.summary(self.survey(images), everywhere))
