"""Mutual correction framework: two unlike networks, where they differ they learn, and the better one teaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Annotated, Batch
from paucis.losses.consistency import masked_mean, squared_difference
from paucis.losses.precision import full
from paucis.losses.segmentation import dice_loss
from paucis.losses.sharpen import sharpen
from paucis.methods.base import Aligned, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.decoders import refuses_patch
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.two_networks import TwoNetworks, TwoNetworksOptions
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class MCFOptions(ConsistencyOptions, TwoNetworksOptions):
    """Cross-entropy and Dice of weight 1 each, as published."""

    ce: float = option(1.0, "weight of the cross-entropy on labels", minimum=0.0)
    dice: float = option(1.0, "weight of the Dice loss on labels", minimum=0.0)
    dice_background: bool = option(False, "whether the Dice loss counts the background as a class")
    second: str | None = option("resnet34", "name of the second network; none = of the configured kind")
    rectify: float = option(0.5, "weight of the loss where the networks differ on labeled images", minimum=0.0)
    temperature: float = option(0.1, "of the sharpening of pseudo-labels", minimum=1e-3)
    predict: Literal["first", "second", "mean"] = option(
        "mean", "network that is validated and predicts, or the mean of both networks' probabilities"
    )


@register("mcf")
class MCF(TwoNetworks):
    """Two networks of different structure on the same images.

    On labels: ``L_sup(p_1) + L_sup(p_2) + 0.5 * sum_i mean_M (p_i - y)^2`` with M the voxels to which the networks
    give different classes. On unlabeled images the network whose labeled Dice loss is lower in this batch teaches the
    other: ``w(t) * mean (p_other - sharp(p_better))^2``, the target without gradient.

    Reference:
        Y. Wang et al.: MCF: Mutual correction framework for semi-supervised medical image segmentation. CVPR 2023.

    Deviations:
        For more than two classes the squared difference is a mean over all of them; for two it is the published one
        of the foreground. Voxels on padding are not counted.
    """

    Options = MCFOptions

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised losses, rectification where the networks differ, and the lesson of the better one."""
        labeled, unlabeled = parts(batch)
        count, images = len(labeled.images), torch.cat([labeled.images, unlabeled])
        features: Features = self.network(images)
        one, two = features.logits, self.second(images).logits
        losses = {
            "supervised": supervised_loss(one[:count], labeled, self.options),
            "supervised_second": supervised_loss(two[:count], labeled, self.options),
        }
        rectified = rectification(one[:count], two[:count], labeled)
        first_better = self._dice(one[:count], labeled) <= self._dice(two[:count], labeled)
        taught = self._lesson(one[count:], two[count:], first_better, valid_unlabeled(batch))
        factor = risen(self.options, clock)
        losses |= {"rectify": self.options.rectify * rectified, "consistency": factor * taught}
        monitors: dict[str, Tensor | float] = {
            "consistency_weight": factor,
            "disagreement": taught.detach(),
            "first_better": first_better.float(),
        }
        return StepResult(losses, monitors, Aligned(first(features, count), labeled.labels))

    @classmethod
    def check(cls, setting: Setting, options: MCFOptions) -> list[str]:
        """Adds: the second network must take the patch."""
        problems = super().check(setting, options)
        return (
            problems if options.second is None else problems + refuses_patch(setting, options.second, "method.second")
        )

    def _dice(self, logits: Tensor, labeled: Annotated) -> Tensor:
        with torch.no_grad():
            return dice_loss(logits, labeled.labels, include_background=self.options.dice_background)

    def _lesson(self, one: Tensor, two: Tensor, first_better: Tensor, valid: Tensor) -> Tensor:
        p, q = one.float().softmax(1), two.float().softmax(1)
        temperature = self.options.temperature
        taught_second = squared_difference(q, sharpen(p.detach(), temperature), valid)
        taught_first = squared_difference(p, sharpen(q.detach(), temperature), valid)
        return torch.where(first_better, taught_second, taught_first)  # which it is, the host need not know


def rectification(one: Tensor, two: Tensor, labeled: Annotated) -> Tensor:
    """``sum_i mean over M of (p_i - y)^2``, M the labeled voxels where the networks' classes differ; 0 where none do.

    Args:
        one: (B, K, *spatial) logits of the first network.
        two: (B, K, *spatial) of the second.
        labeled: labels (B, *spatial).
    """
    differ = one.argmax(1).ne(two.argmax(1)) & labeled.labels.ne(IGNORE)
    classes = torch.arange(one.shape[1], device=one.device).reshape(-1, *[1] * (one.ndim - 2))
    target = labeled.labels.unsqueeze(1).eq(classes).float()
    return torch.stack([masked_mean((full(each).softmax(1) - target).square(), differ) for each in (one, two)]).sum()
