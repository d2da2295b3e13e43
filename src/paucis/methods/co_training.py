"""Deep co-training: two views that agree on images and differ in what fools them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.losses.consistency import squared_difference
from paucis.losses.divergence import jensen_shannon, kl_divergence
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Setting, StepResult, register
from paucis.methods.parts.gradient_sign import adversarial_images
from paucis.methods.parts.pseudo_labels import pseudo_labels
from paucis.methods.parts.ramps import weight
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.two_networks import TwoNetworks, TwoNetworksOptions
from paucis.methods.parts.unlabeled import first, parts, valid_unlabeled, valid_voxels
from paucis.networks.base import Features
from paucis.options import option
from paucis.views.rotate90 import Rotate90


@dataclass(frozen=True)
class CoTrainingOptions(TwoNetworksOptions):
    """Options of co-training. Ramps of the two-network form: 0 to 50 and 20 to 50 of 120 epochs."""

    variant: Literal["two_networks", "rotated_views"] = option(
        "two_networks", "two networks, or one network that sees a turned second view"
    )
    agreement: float | None = option(
        None, "largest weight of the agreement; none = 0.5 for two networks, 0.1 for rotated views", minimum=0.0
    )
    ramp: float | None = option(
        None,
        "share of the training over which it rises; none = 0.4167 for two networks, 1 for rotated views",
        minimum=0.0,
    )
    diversity: float = option(0.05, "largest weight of the view difference (two networks)", minimum=0.0)
    diversity_start: float = option(0.1667, "share of the training before it begins", minimum=0.0, maximum=1.0)
    diversity_ramp: float = option(0.25, "share of the training over which it rises", minimum=0.0, maximum=1.0)
    epsilon: float = option(
        0.1, "step of an adversarial image in standard deviations of the image (two networks)", minimum=0.0
    )


@register("co_training")
class CoTraining(TwoNetworks):
    """Two networks that agree on unlabeled images and resist the images that fool the other.

    ``L = L_sup(f1) + L_sup(f2) + w_cot L_cot + w_dif L_dif`` with ``L_cot = H((p1+p2)/2) - (H(p1)+H(p2))/2`` on
    unlabeled images and ``L_dif = [KL(p1(x) | p2(g1(x))) + KL(p2(x) | p1(g2(x)))] / 2`` on all images x, where
    ``g_i(x) = x + eps sign(grad CE(p_i(x), y))``, y the label or ``argmax p_i``, and no gradient passes through
    ``p_i(x)`` and ``g_i(x)``.

    ``variant=rotated_views`` is what the semi-supervised literature most often runs under this name: one network,
    ``L = L_sup + w [MSE(sg p(Rx), R p(x)) + MSE(p(Rx), sg R p(x))] / 2``, R a turn by a multiple of 90 degrees.

    Reference:
        S. Qiao et al.: Deep co-training for semi-supervised image recognition. ECCV 2018; for segmentation J. Peng et
        al.: Deep co-training for semi-supervised image segmentation. Pattern Recognition 107, 2020.

    Deviations:
        both networks see the same labeled images in a step, where the paper draws one batch for each. The published
        step eps is 0.03 of a unit range of intensities, cut off at its ends; here it is measured in standard deviations
        (0.03 of a unit range evenly filled is 0.1 of them) and nothing is cut off, as normalized scans have no such
        ends. Adversarial images are not made before ``diversity_start``. The supervised loss is the toolkit's
        (published: cross-entropy alone). Weights and ramps are those of the segmentation code. The rotated view turns
        each image on its own; in a plane of unequal sizes by 180 degrees only.
    """

    Options = CoTrainingOptions

    def __init__(self, build: Build, task: Task, options: CoTrainingOptions) -> None:
        if options.variant == "two_networks":
            super().__init__(build, task, options)
        else:
            Method.__init__(self, build, task, options)  # no second network
            self.network = build()
            self.rotation = Rotate90(_plane(task))

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of the configured variant."""
        return self._two(batch, clock) if self.options.variant == "two_networks" else self._rotated(batch, clock)

    @classmethod
    def check(cls, setting: Setting, options: CoTrainingOptions) -> list[str]:
        """Adds: what concerns a second network where there is none."""
        problems = super().check(setting, options)
        if options.variant == "rotated_views" and (options.second is not None or options.predict != "first"):
            problems.append(
                "method.variant=rotated_views has one network: leave out method.second and method.predict, "
                "or set method.variant=two_networks"
            )
        return problems

    def _two(self, batch: Batch, clock: Clock) -> StepResult:
        labeled, unlabeled = parts(batch)
        count, valid = len(labeled.images), valid_voxels(batch)
        images = torch.cat([labeled.images, unlabeled])
        one: Features = self.network(images)
        two: Features = self.second(images)
        agreement = jensen_shannon(one.logits[count:], two.logits[count:], valid[count:])
        factor = self._agreement(clock)
        losses = {
            "supervised": supervised_loss(one.logits[:count], labeled, self.options),
            "supervised_second": supervised_loss(two.logits[:count], labeled, self.options),
            "agreement": factor * agreement,
        }
        options = self.options
        diverse = options.diversity * weight(
            "gaussian", clock.fraction, options.diversity_ramp, options.diversity_start
        )
        if diverse > 0:
            losses["diversity"] = diverse * self._difference(images, labeled.labels, one.logits, two.logits, valid)
        return StepResult(
            losses,
            {"consistency_weight": factor, "diversity_weight": diverse, "divergence": agreement.detach()},
            Aligned(first(one, count), labeled.labels),
        )

    def _difference(self, images: Tensor, labels: Tensor, one: Tensor, two: Tensor, valid: Tensor) -> Tensor:
        """Each network on the images that fool the other, against what the other says of the clean ones."""
        count, epsilon = len(labels), self.options.epsilon
        losses = []
        for fooled, asked, clean in ((self.network, self.second, one), (self.second, self.network, two)):
            targets = torch.cat([labels, pseudo_labels(clean[count:], valid[count:]).labels])
            adversarial = adversarial_images(fooled, images, targets, epsilon)
            losses.append(kl_divergence(clean.detach(), asked(adversarial).logits, valid))
        return torch.stack(losses).mean()

    def _rotated(self, batch: Batch, clock: Clock) -> StepResult:
        labeled, unlabeled = parts(batch)
        count, valid = len(labeled.images), valid_unlabeled(batch)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        turn = self.rotation.sample(len(unlabeled), unlabeled.shape[2:], torch.default_generator)
        turned = self.rotation.image(features.logits[count:].float().softmax(1), turn)
        valid = self.rotation.labels(valid, turn)
        view = self.network(self.rotation.image(unlabeled, turn)).logits.float().softmax(1)
        agreement = 0.5 * (
            squared_difference(turned, view.detach(), valid) + squared_difference(turned.detach(), view, valid)
        )
        factor = self._agreement(clock)
        return StepResult(
            {"supervised": supervised, "agreement": factor * agreement},
            {"consistency_weight": factor, "disagreement": agreement.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    def _agreement(self, clock: Clock) -> float:
        two, options = self.options.variant == "two_networks", self.options
        largest = (0.5 if two else 0.1) if options.agreement is None else options.agreement
        ramp = (50 / 120 if two else 1.0) if options.ramp is None else options.ramp
        factor: float = largest * weight("gaussian", clock.fraction, ramp)
        return factor


def _plane(task: Task) -> tuple[int, int]:
    """The plane to turn in: of equal sizes if there is one, of the most equal spacing, the last axes first."""
    spacing = task.spacing or (1.0,) * task.ndim

    def order(plane: tuple[int, int]) -> tuple[bool, float]:
        one, two = plane
        return task.patch[one] != task.patch[two], max(spacing[one], spacing[two]) / min(spacing[one], spacing[two])

    return min(reversed(list(combinations(range(task.ndim), 2))), key=order)
