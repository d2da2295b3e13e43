"""UniMatch: two strong views and one of dropped features, all against the weak view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import Batch, Task
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Setting, StepResult, register
from paucis.methods.parts.pseudo_labels import PseudoLabels, PseudoLossOptions, pseudo_labels, pseudo_loss
from paucis.methods.parts.strong import StrongOptions, StrongView
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import cannot_mix, first, parts, valid_unlabeled
from paucis.networks.base import Features
from paucis.options import option
from paucis.views.mixing import cutmix_boxes, partners, paste


@dataclass(frozen=True)
class UniMatchOptions(StrongOptions, PseudoLossOptions):
    """Options of UniMatch."""

    strong_weight: float = option(0.5, "of the two strong views, half each", minimum=0.0)
    feature_weight: float = option(0.5, "of the view of dropped features", minimum=0.0)
    feature_dropout: float = option(0.5, "share of channels dropped from every encoder map", minimum=0.0, maximum=0.95)
    pseudo_loss: Literal["dice", "ce", "both"] = option("dice", "loss against pseudo-labels; ce on natural images")
    cutmix: float = option(
        0.5, "probability of pasting a box of another image into a strong view", minimum=0.0, maximum=1.0
    )
    cutmix_share: tuple[float, float] = option(
        (0.02, 0.4), "least and largest share of the image in a box", minimum=0.001, maximum=1.0
    )


@register("unimatch")
class UniMatch(Method):
    """``L = [L_x + l/2 (L_s1 + L_s2) + m L_fp] / 2``, l = m = 0.5, on unlabeled voxels where confidence is >= 0.95.

    L_s1 and L_s2 compare two strong views, each with boxes of another image pasted in, with the labels of the weak
    view; labels and confidence are pasted alike. L_fp compares the weak view decoded from features of which half the
    channels were dropped. No ramp, no teacher.

    Reference:
        L. Yang et al.: Revisiting weak-to-strong consistency in semi-supervised semantic segmentation. CVPR 2023.

    Deviations:
        images to paste come from the same unlabeled batch in another order, not from a second batch, and their labels
        from the same pass in train mode as all others (published: a pass in eval mode). Features are dropped from
        unlabeled images alone; the published code drops them from labeled ones too and leaves the result out of the
        loss. The Dice loss against pseudo-labels counts the classes that a sure voxel names, weighted by the share of
        sure voxels; the published one pushes all others to 0 at full weight (``absent=pushed_to_0``), and in short
        trainings loses them for good. Boxes are drawn where they fit, not redrawn until they do. Intensities change in
        floating point. In 3D boxes have the same share of the volume and whole channels are dropped alike. Voxels on
        padding are not counted.
    """

    Options = UniMatchOptions

    def __init__(self, build: Build, task: Task, options: UniMatchOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.strong = StrongView(task, options)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss, the view of dropped features, two strong views."""
        labeled, unlabeled = parts(batch)
        count, options, valid = len(labeled.images), self.options, valid_unlabeled(batch)
        features, dropped = self._weak(labeled.images, unlabeled)
        weak = pseudo_labels(features.logits[count:], valid)
        supervised = supervised_loss(features.logits[:count], labeled, options)
        loss_fp = pseudo_loss(dropped, weak, options)
        views = [self._mixed(unlabeled, weak) for _ in range(2)]
        strong: Features = self.network(torch.cat([images for images, _ in views]))
        loss_s1, loss_s2 = (
            pseudo_loss(logits, labels, options)
            for logits, (_, labels) in zip(strong.logits.chunk(2), views, strict=True)
        )
        kept = weak.sure(options.threshold) * valid
        return StepResult(
            {
                "supervised": 0.5 * supervised,
                "strong": 0.25 * options.strong_weight * (loss_s1 + loss_s2),
                "feature": 0.5 * options.feature_weight * loss_fp,
            },
            {"sure": kept.sum() / valid.sum().clamp(min=1)},
            Aligned(first(features, count), labeled.labels),
        )

    @classmethod
    def check(cls, setting: Setting, options: UniMatchOptions) -> list[str]:
        """Adds: CutMix needs two images."""
        return super().check(setting, options) + (cannot_mix(cls.name, setting) if options.cutmix else [])

    def _weak(self, labeled: Tensor, unlabeled: Tensor) -> tuple[Features, Tensor]:
        """Features of labeled and unlabeled images, and logits of the unlabeled ones from dropped features."""
        count, images = len(labeled), torch.cat([labeled, unlabeled])
        drop = F.dropout2d if self.task.ndim == 2 else F.dropout3d
        maps = self.network.encode(images)
        doubled = [torch.cat([each, drop(each[count:], self.options.feature_dropout)]) for each in maps]
        decoded, logits = self.network.decode(doubled, images.shape[2:])
        clean = Features(maps, tuple(each[: len(images)] for each in decoded), logits[: len(images)])
        return clean, logits[len(images) :]

    def _mixed(self, images: Tensor, weak: PseudoLabels) -> tuple[Tensor, PseudoLabels]:
        """A strong view with boxes of other images in it, and its labels."""
        generator, options = torch.default_generator, self.options
        strong = self.strong(images)
        partner = partners(len(images), generator)
        box = cutmix_boxes(len(images), images.shape[2:], generator, options.cutmix, options.cutmix_share)
        return paste(strong[partner.to(images.device)], strong, box), weak.pasted(partner, box)
