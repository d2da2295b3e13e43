"""Cross pseudo supervision: two networks label unlabeled images for each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import Batch
from paucis.losses.segmentation import cross_entropy
from paucis.methods.base import Aligned, Clock, Phase, Setting, StepResult, register
from paucis.methods.parts.pseudo_labels import PseudoLabels, pseudo_labels
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.two_networks import TwoNetworks, TwoNetworksOptions
from paucis.methods.parts.unlabeled import (
    ConsistencyOptions,
    cannot_mix,
    first,
    parts,
    risen,
    valid_unlabeled,
    valid_voxels,
)
from paucis.networks.base import Features
from paucis.options import option
from paucis.views.mixing import cutmix_boxes, partners, paste


@dataclass(frozen=True)
class CpsOptions(ConsistencyOptions, TwoNetworksOptions):
    """Options of CPS."""

    cps_on: Literal["unlabeled", "all"] = option("unlabeled", "images that the networks label for each other")
    cutmix: bool = option(False, "networks learn from unlabeled images with a box of another one pasted in")
    cutmix_share: tuple[float, float] = option(
        (0.25, 0.5), "least and largest share of the image in a box", minimum=0.0, maximum=1.0
    )


@register("cps")
class Cps(TwoNetworks):
    """``L = L_sup(f1) + L_sup(f2) + w(t) * [CE(f1, argmax f2) + CE(f2, argmax f1)]`` on unlabeled images.

    The networks differ in their random initial weights alone; no gradient passes through labels. With ``cutmix`` the
    labels of mixed images are the mixed labels of whole ones.

    Reference:
        X. Chen et al.: Semi-supervised semantic segmentation with cross pseudo supervision. CVPR 2021; weight and ramp
        of the public segmentation benchmarks.

    Deviations:
        the paper labels labeled images too (``cps_on=all``), at a weight without ramp (1.5 or 6, for pictures of
        streets and things), and with CutMix; the benchmarks do none of it, and are the default. The 3D benchmark
        draws the networks' weights from two distributions; here both come from the configured one. Shares of the
        CutMix box are unverified. Voxels on padding are not counted.
    """

    Options = CpsOptions

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Both networks' supervised losses, and each against the other's labels."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        targets = None
        if self.options.cutmix:
            unlabeled, targets = self._mixed(unlabeled, valid_unlabeled(batch))
        images = torch.cat([labeled.images, unlabeled])
        one: Features = self.network(images)
        two: Features = self.second(images)
        supervised = supervised_loss(one.logits[:count], labeled, self.options)
        supervised_second = supervised_loss(two.logits[:count], labeled, self.options)
        given = self._given(one.logits, two.logits, valid_voxels(batch), count, targets)
        begin = 0 if self.options.cps_on == "all" else count
        cross = cross_entropy(one.logits[begin:], given[1][begin:]) + cross_entropy(
            two.logits[begin:], given[0][begin:]
        )
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "supervised_second": supervised_second, "cross": factor * cross},
            {"consistency_weight": factor, "cross_entropy": cross.detach()},
            Aligned(first(one, count), labeled.labels),
        )

    @classmethod
    def check(cls, setting: Setting, options: CpsOptions) -> list[str]:
        """Adds: CutMix needs two images."""
        return super().check(setting, options) + (cannot_mix(cls.name, setting) if options.cutmix else [])

    def _given(
        self, one: Tensor, two: Tensor, valid: Tensor, count: int, targets: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """What each network takes all images for: (B, *spatial) labels each."""
        labels = pseudo_labels(one, valid).labels, pseudo_labels(two, valid).labels
        if targets is None:
            return labels
        return torch.cat([labels[0][:count], targets[0]]), torch.cat([labels[1][:count], targets[1]])

    @torch.no_grad()
    def _mixed(self, images: Tensor, valid: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Images with a box of another pasted in, and both networks' labels for them, made on the whole images."""
        generator = torch.default_generator
        partner = partners(len(images), generator)
        box = cutmix_boxes(len(images), images.shape[2:], generator, probability=1.0, share=self.options.cutmix_share)

        def label(logits: Tensor) -> PseudoLabels:
            return pseudo_labels(logits, valid).pasted(partner, box)

        targets = label(self.network(images).logits).labels, label(self.second(images).logits).labels
        return paste(images[partner.to(images.device)], images, box), targets
