"""UGPCL: uncertainty-guided pixel contrastive learning with a CNN and a transformer decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.errors import PaucisError
from paucis.losses.consistency import squared_difference
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Prediction, Setting, StepResult, register
from paucis.methods.parts.pixel_contrast import PixelContrast, PixelContrastOptions
from paucis.methods.parts.ramps import weight
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.turning import Turning, TurningOptions, problems
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled
from paucis.networks.base import Features, Site
from paucis.networks.blocks import resize_to
from paucis.networks.swin_decoder import MAPS, TransformerDecoder, encoder_sites
from paucis.options import option
from paucis.uncertainty.entropy import entropy


@dataclass(frozen=True)
class UGPCLOptions(TurningOptions, PixelContrastOptions, ConsistencyOptions):
    """Defaults as published; where the paper and its code differ, see the deviations of ``UGPCL``."""

    dice_background: bool = option(False, "whether the Dice loss counts the background as a class")
    alpha: float = option(0.4, "weight of the transformer decoder's supervised loss", minimum=0.0)
    consistency: float = option(0.01, "largest weight of the decoders' consistency; 0 = off", minimum=0.0)
    contrastive: Literal["none", "supervised", "pseudo", "uncertainty"] = option(
        "uncertainty",
        "pixels that are contrasted: none, those of labeled images, all by the CNN decoder's prediction, or of "
        "unlabeled images only the certain ones",
    )
    contrast: float = option(0.1, "weight of the pixel contrastive loss", minimum=0.0)
    contrast_start: float = option(
        0.0, "share of the training before pixels are contrasted and remembered", minimum=0.0, maximum=1.0
    )
    feature_level: int = option(
        2, "encoder map that is contrasted, 1 to 4: of the four coarsest, from the finest", minimum=1, maximum=4
    )
    threshold_start: float = option(
        0.75, "entropy below which a voxel is certain at first, as a share of the largest", minimum=0.0, maximum=1.0
    )
    threshold_ramp: float = option(
        1.0, "share of the training over which that entropy rises to the largest", minimum=0.0, maximum=1.0
    )
    largest_entropy: float | None = option(
        None, "largest entropy in nats; none = ln of the number of classes. The published code has 0.6931 (ln 2)"
    )
    equivariance: float = option(0.1, "weight of the equivariant loss; 0 = off", minimum=0.0)
    transformer_width: int | None = option(
        None, "channels of the transformer's finest tokens; none = 96 in 2D, 48 in 3D", minimum=1
    )
    transformer_heads: int = option(3, "attention heads of the finest tokens, doubled at each level", minimum=1)
    transformer_depth: int = option(2, "blocks at each of the transformer's levels", minimum=1)
    transformer_window: int | None = option(
        None, "tokens along the side of an attention window; none = 7 in 2D, 4 in 3D", minimum=2
    )
    drop_path: float = option(0.1, "largest rate of the transformer's stochastic depth", minimum=0.0, maximum=0.95)


@register("ugpcl")
class UGPCL(Method):
    """One encoder; a CNN and a Swin transformer decoder that agree; pixels contrasted where both are certain.

    ``L = L_sup + lambda_t L_con + lambda_1 L_c + lambda_2 L_e`` with, for the decoders' probabilities p_c and p_t,

    - ``L_sup = L_seg(p_c, y) + alpha L_seg(p_t, y)``, ``L_seg = (CE + Dice) / 2`` on labeled images;
    - ``L_con = mean (p_c - p_t)^2`` on unlabeled images;
    - ``L_c`` the pixel contrastive loss of anchors in an encoder map against a memory, classes given by the labels and,
      on unlabeled images, by ``argmax (p_c + p_t) / 2`` where its entropy is below H(t);
    - ``L_e`` the cross-entropy of telling by how many right angles an image was turned.

    ``H(t) = (s + (1 - s) exp(-5 (1 - t)^2)) ln K`` with s = 0.75. Prediction is by the CNN decoder; the entropy of the
    mean of both decoders (in nats) is the additional map ``uncertainty``. A third dimension changes nothing but the
    turns: of one plane, or all 24.

    Reference:
        T. Wang et al.: Uncertainty-guided pixel contrastive learning for semi-supervised medical image segmentation.
        IJCAI 2022.

    Deviations:
        The threshold H is not given in the paper; the schedule is the published code's, with ln K in place of its ln 2
        (``largest_entropy=0.6931``): with four classes ln 2 is half of the largest entropy, below ln K every voxel is
        certain at the end, and more than with ln 2 at the start. The code draws one anchor per image and class, easy
        ones first, does not borrow and contrasts from step 1,000 on (``anchors=1 anchor_choice=easy borrow=false
        contrast_start=0.1``); the paper borrows and says neither how many nor when. The paper remembers anchors
        (``memory=anchors``); the code, and the default here, class means. Unwritten places of its
        memory are random vectors and zeros that count as samples, here they do not. The background is a class of the
        contrast: in the code it has anchors, but zeros for a memory. Eq. 12 averages over all turns of an image
        (``rotations=all``); the code draws one, as here. Patches of unequal sides are not turned themselves, but
        square copies of them (``turned``). The Dice loss is a mean over the foreground classes; the code divides
        their sum by the number of all classes. Ramps are shares of the training and rise with every step. Voxels on
        padding are not counted.
    """

    Options = UGPCLOptions

    def __init__(self, build: Build, task: Task, options: UGPCLOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        encoder = encoder_sites(self.network)
        self.transformer = TransformerDecoder(
            task,
            encoder,
            width=options.transformer_width,
            heads=options.transformer_heads,
            depth=options.transformer_depth,
            window=options.transformer_window,
            drop_path=options.drop_path,
        )
        self.contrast: PixelContrast | None = None
        if options.contrastive != "none":
            channels = encoder[self._level(encoder)].channels
            self.contrast = PixelContrast(task.ndim, channels, task.classes, options)
        self.turning: Turning | None = None
        if options.equivariance:
            self.turning = Turning(task, encoder[-1], self.network.multiple, options)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The four losses of Eq. 1."""
        batch, turns, deepest = self._turned(batch)
        labeled, unlabeled = parts(batch)
        count, options = len(labeled.images), self.options
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        cnn = features.logits
        transformer = self.transformer(features.encoder, cnn.shape[2:])[1]
        supervised = self._supervised(cnn[:count], transformer[:count], labeled)  # Eq. 3
        p_c, p_t = cnn.float().softmax(1), transformer.float().softmax(1)
        result = StepResult({"supervised": supervised}, aligned=Aligned(first(features, count), labeled.labels))
        valid = valid_unlabeled(batch)
        if options.consistency:
            factor = risen(options, clock)
            consistency = squared_difference(p_c[count:], p_t[count:], valid)  # Eq. 5
            result.losses["consistency"] = factor * consistency
            result.monitors |= {"consistency_weight": factor, "disagreement": consistency.detach()}
        if self.contrast is not None and clock.fraction >= options.contrast_start:
            self._contrasted(result, features, labeled.labels, (p_c.detach(), p_t.detach()), valid, clock)
        if self.turning is not None:
            deepest = features.encoder[-1] if deepest is None else deepest
            result.losses["equivariant"] = options.equivariance * self.turning(deepest, turns)  # Eq. 12
        return result

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """This step's samples go into the memory."""
        if self.contrast is not None and result.memory:
            self.contrast.remember(result.memory)

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of the CNN decoder, the uncertainty of both, the transformer decoder as a further answer."""
        features = self.network(images)
        p_c = features.logits.float().softmax(1)
        p_t = self.transformer(features.encoder, images.shape[2:])[1].float().softmax(1)
        uncertainty = entropy((p_c + p_t) / 2).unsqueeze(1)  # Eq. 6
        return Prediction({"probabilities": p_c, "uncertainty": uncertainty}, members={"transformer": p_t})

    def embed(self, images: Tensor) -> Tensor:
        """The contrasted embeddings at the images' size; without contrast, the layer before the CNN decoder's head."""
        if self.contrast is None:
            return super().embed(images)
        maps = self.network.encode(images)
        return resize_to(self.contrast.embed(maps[self._level(maps)]), images.shape[2:])

    def threshold(self, clock: Clock) -> float:
        """H(t): entropy in nats below which a voxel is certain."""
        options = self.options
        largest = math.log(self.task.classes) if options.largest_entropy is None else options.largest_entropy
        risen_ = weight("gaussian", clock.fraction, options.threshold_ramp)
        return float((options.threshold_start + (1.0 - options.threshold_start) * risen_) * largest)

    @classmethod
    def check(cls, setting: Setting, options: UGPCLOptions) -> list[str]:
        """Adds: what cannot be turned, and a contrast of one class."""
        found = super().check(setting, options) + (problems(setting.task, options) if options.equivariance else [])
        if setting.task.classes == 2 and not options.background and options.contrastive != "none":
            found.append(
                "method.background=false leaves one class, which has nothing to be contrasted with: drop it, or take "
                "method.contrastive=none"
            )
        return found

    def _turned(self, batch: Batch) -> tuple[Batch, Tensor | None, Tensor | None]:
        """The batch to train on, the turns to tell, and the deepest map of turned copies where those are told."""
        if self.turning is None:
            return batch, None, None
        if self.turning.whole:
            return *self.turning.turn(batch), None
        labeled, unlabeled = parts(batch)
        # before the batch's own pass, so that taps hold the maps of that one
        copies, turns = self.turning.copies(torch.cat([labeled.images, unlabeled]))
        return batch, turns, self.network.encode(copies)[-1]

    def _supervised(self, cnn: Tensor, transformer: Tensor, labeled: Annotated) -> Tensor:
        alpha: float = self.options.alpha
        return supervised_loss(cnn, labeled, self.options) + alpha * supervised_loss(transformer, labeled, self.options)

    def _contrasted(
        self,
        result: StepResult,
        features: Features,
        labels: Tensor,
        probabilities: tuple[Tensor, Tensor],
        valid: Tensor,
        clock: Clock,
    ) -> None:
        """Adds the contrastive loss, what is to be remembered, and figures."""
        assert self.contrast is not None
        count, p_c, feature = len(labels), probabilities[0], features.encoder[self._level(features.encoder)]
        predicted = p_c.argmax(1)
        if self.options.contrastive == "supervised":
            feature, predicted = feature[:count], predicted[:count]
        else:
            certain = self._certain(p_c[count:], probabilities[1][count:], valid, clock)
            labels = torch.cat([labels, certain])
            result.monitors["certain"] = certain.ne(IGNORE).sum() / valid.sum().clamp(min=1)
            result.monitors["threshold"] = self.threshold(clock)
        loss, result.memory, anchors = self.contrast(feature, labels, predicted)
        result.losses["contrastive"] = self.options.contrast * loss  # Eq. 8 and 9
        result.monitors["anchors"] = anchors

    @torch.no_grad()
    def _certain(self, p_c: Tensor, p_t: Tensor, valid: Tensor, clock: Clock) -> Tensor:
        """Certain pseudo-labels (B, *spatial); ``IGNORE`` elsewhere."""
        if self.options.contrastive == "pseudo":
            return p_c.argmax(1).masked_fill(~valid, IGNORE)
        mean = (p_c + p_t) / 2
        certain = entropy(mean).lt(self.threshold(clock)) & valid  # Eq. 6
        return mean.argmax(1).masked_fill(~certain, IGNORE)  # Eq. 7

    def _level(self, maps: tuple[Site, ...] | tuple[Tensor, ...]) -> int:
        """Index of the contrasted encoder map."""
        begin = max(len(maps) - MAPS, 0)
        level = begin + self.options.feature_level - 1
        if level >= len(maps):
            raise PaucisError(
                f"method.feature_level={self.options.feature_level}: network '{self.network.name}' has "
                f"{len(maps)} encoder maps: choose 1 to {len(maps)}"
            )
        return int(level)
