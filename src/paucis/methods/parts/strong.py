"""The strong view of weak-to-strong methods: intensity alone, so that labels of the weak view stay in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paucis.batch import Task
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.options import option
from paucis.views.compose import Compose
from paucis.views.intensity import Blur, Brightness, Contrast


@dataclass(frozen=True)
class StrongOptions(SupervisedOptions):
    """How strongly the strong view changes intensities, on top of the base augmentation (``augment.*``)."""

    jitter: float = option(
        0.5, "strong view: largest shift (in standard deviations) and stretch of intensities", minimum=0.0
    )
    jitter_probability: float = option(0.8, "of the shift, and of the stretch, of an image", minimum=0.0, maximum=1.0)
    blur: float = option(2.0, "strong view: largest standard deviation of the blur in voxels", minimum=0.0)
    blur_probability: float = option(0.5, "of blurring an image", minimum=0.0, maximum=1.0)


class StrongView:
    """Brightness, contrast and blur, drawn anew for every image and call.

    Args:
        task: spacing of the voxels.
        options: strengths and probabilities.

    Reference:
        the changes of L. Yang et al.: UniMatch. CVPR 2023, in floating point.
    """

    def __init__(self, task: Task, options: StrongOptions) -> None:
        self.chain = Compose(
            Contrast(options.jitter, options.jitter_probability),
            Brightness(options.jitter, options.jitter_probability),
            Blur(options.blur, options.blur_probability, task.spacing),
        )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The strong view of images (B, C, *spatial)."""
        params = self.chain.sample(len(images), images.shape[2:], torch.default_generator)
        return self.chain.image(images, params)
