"""MultiCURE: one network says where it is unsure, the other looks there again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.losses.consistency import masked_mean
from paucis.losses.precision import full
from paucis.losses.uncertain_prototype_contrastive import (
    class_prototypes,
    prototype_similarity,
    uncertain_prototype_contrastive,
)
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Prediction, Setting, StepResult, register
from paucis.methods.parts.decoders import decoder_sites, refuses_patch
from paucis.methods.parts.pseudo_labels import PseudoLabels, pseudo_labels
from paucis.methods.parts.supervision import SupervisedOptions, supervised_loss
from paucis.methods.parts.unlabeled import first, parts, valid_unlabeled
from paucis.networks.base import Features, Network
from paucis.networks.multi_level import MultiLevelEmbedding
from paucis.networks.multicure_block import MultiCUREBlock
from paucis.options import option
from paucis.uncertainty.entropy import entropy


@dataclass(frozen=True)
class MultiCUREOptions(SupervisedOptions):
    """Published constants where the paper gives them; for the others see the method's page."""

    ce: float = option(1.0, "weight of the cross-entropy on labels and pseudo-labels", minimum=0.0)
    dice: float = option(1.0, "weight of the Dice loss on labels and pseudo-labels", minimum=0.0)
    dice_background: bool = option(False, "whether the Dice loss counts the background as a class")
    second: str | None = option("resnet34", "name of the second network; none = of the configured kind")
    refined: Literal["first", "second"] = option(
        "first", "which network is the auxiliary one, with the block: first = the configured one (the authors' code)"
    )
    predict: Literal["mean", "auxiliary", "predictive"] = option(
        "mean", "network that is validated and predicts, or the mean of both networks' probabilities"
    )
    block: bool = option(True, "whether the auxiliary network has the MultiCURE block")
    site: str | None = option(None, "place of the block; none = where the last but one skip connection joins")
    squeeze: Literal["layer", "batch"] = option("layer", "normalization inside the block's attention")
    uncertain: float = option(0.7, "confidence below which a voxel is uncertain", minimum=0.0, maximum=1.0)
    threshold: float = option(0.7, "confidence above which a pseudo-label teaches", minimum=0.0, maximum=1.0)
    unlabeled: float = option(1.0, "weight of the loss on pseudo-labels", minimum=0.0)
    rectify: float = option(0.5, "weight, within it, of the voxels where the networks differ", minimum=0.0)
    contrast: float = option(0.1, "factor of the contrastive loss; 0 takes it out", minimum=0.0)
    exponent: float = option(-4.0, "c in the factor's course exp(c (1 - t)^2); 4 = as printed, falling")
    separation: float = option(1.0, "weight, within it, of the prototypes' likeness", minimum=0.0)
    temperature: float = option(0.1, "of the contrastive loss", minimum=1e-3)
    others_only: bool = option(False, "leave the own prototype out of the denominator, as printed")
    contrast_on: Literal["auxiliary", "both"] = option("auxiliary", "whose embedding the contrastive loss acts on")
    candidates: Literal["predictive", "auxiliary"] = option("predictive", "whose classes the uncertain voxels have")
    samples: int = option(1024, "uncertain voxels drawn per class and step, at most", minimum=1)
    minimum: int = option(16, "certain voxels that a class needs for a prototype", minimum=1)
    embedding: int = option(16, "channels of the embedding", minimum=1)
    levels: int = option(3, "maps of the decoder that the embedding is made of, the finest ones", minimum=1)


@register("multicure")
class MultiCURE(Method):
    """A predictive network's doubts lead an auxiliary network, which learns from its certain voxels.

    ``L = L_s + lambda_u L_u + lambda_c(t) L_c``: cross-entropy and Dice of both networks on labels (Eq. 1); the same
    of the auxiliary network on the predictive one's pseudo-labels, with the distance of both where their classes
    differ (Eq. 2); the contrast of uncertain voxels with the class means of the certain ones (Eq. 4 and 5).

    Reference:
        S. Karimijafarbigloo et al.: Reducing uncertainty in 3D medical image segmentation under limited annotations
        through contrastive learning. MIDL 2024.

    Deviations:
        By default the roles are those of the authors' code (the configured network, V-Net, is refined; ResNet-34
        predicts; the paper has it the other way round: ``refined=second``); the contrastive weight rises
        (``exponent=4`` is the printed form); Eq. 5 has its positive in the denominator (``others_only``); the L1
        distance is that of probabilities, since hard classes have no gradient. Constants that the paper does not give
        are MCF's or chosen here. Voxels on padding are not counted.
    """

    Options = MultiCUREOptions
    options: MultiCUREOptions

    def __init__(self, build: Build, task: Task, options: MultiCUREOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.second = build(options.second)
        if options.block:
            site = options.site or block_site(self.auxiliary)
            known = self.auxiliary.sites.get(site)
            block = MultiCUREBlock(task.ndim, known.channels if known else 1, squeeze=options.squeeze)
            self.auxiliary.insert(site, block)  # names the sites there are, where this is none
        self.embeddings = torch.nn.ModuleDict()
        if options.contrast > 0:
            self.embeddings["auxiliary"] = self._embedding(self.auxiliary)
            if options.contrast_on == "both":
                self.embeddings["predictive"] = self._embedding(self.predictive)

    @property
    def auxiliary(self) -> Network:
        """The network that is led by the uncertainty map and learns from pseudo-labels."""
        return self.network if self.options.refined == "first" else self.second

    @property
    def predictive(self) -> Network:
        """The network that makes pseudo-labels and the uncertainty map."""
        return self.second if self.options.refined == "first" else self.network

    def networks(self) -> tuple[Network, ...]:
        """The refined one first."""
        return self.auxiliary, self.predictive

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Eq. 1 to 5, in this order."""
        labeled, unlabeled = parts(batch)
        count, images = len(labeled.images), torch.cat([labeled.images, unlabeled])
        predictive: Features = self.predictive(images)
        pseudo = pseudo_labels(predictive.logits)
        with self.guided(self.doubt(pseudo.confidence)):
            auxiliary: Features = self.auxiliary(images)
        losses = {
            "supervised_predictive": supervised_loss(predictive.logits[:count], labeled, self.options),
            "supervised_auxiliary": supervised_loss(auxiliary.logits[:count], labeled, self.options),
        }
        pseudo = PseudoLabels(pseudo.labels[count:], pseudo.confidence[count:])
        losses |= self._taught(unlabeled, auxiliary.logits[count:], predictive.logits[count:], pseudo, batch)
        monitors = self._monitors(pseudo, auxiliary.logits[count:], clock)
        if self.options.contrast > 0:
            features = {"auxiliary": _rest(auxiliary, count), "predictive": _rest(predictive, count)}
            losses["contrast"] = self.contrast_weight(clock) * self._contrast(features, pseudo, batch)
        return StepResult(losses, monitors, Aligned(first(auxiliary, count), labeled.labels))

    def doubt(self, confidence: Tensor) -> Tensor:
        """The binary uncertainty map (B, *spatial): 1 where the predictive network's confidence is low."""
        return confidence.lt(self.options.uncertain).float()

    def contrast_weight(self, clock: Clock) -> float:
        """``lambda_c(t)``."""
        return self.options.contrast * math.exp(self.options.exponent * (1 - clock.fraction) ** 2)

    @contextmanager
    def guided(self, uncertainty: Tensor) -> Iterator[None]:
        """Within the ``with``, the auxiliary network's block sees the map; nothing happens where it has none."""
        blocks = [part for part in self.auxiliary.inserted.modules() if isinstance(part, MultiCUREBlock)]
        if not blocks:
            yield
            return
        with blocks[0].guided_by(uncertainty):
            yield

    def predict(self, images: Tensor) -> Prediction:
        """Predictive, then its doubts, then auxiliary; with the entropy of both, as a share of ln K."""
        before = self.predictive(images).logits.float().softmax(1)
        with self.guided(self.doubt(before.amax(1))):
            after = self.auxiliary(images).logits.float().softmax(1)
        members = {"mean": (before + after) / 2, "auxiliary": after, "predictive": before}
        doubts = {
            "uncertainty_before": entropy(before, normalized=True).unsqueeze(1),
            "uncertainty_after": entropy(after, normalized=True).unsqueeze(1),
        }
        return Prediction({"probabilities": members[self.options.predict], **doubts}, members=members)

    def embed(self, images: Tensor) -> Tensor:
        """The embedding that the contrastive loss shapes, where it does; else the layer before the head."""
        confidence = self.predictive(images).logits.float().softmax(1).amax(1)
        with self.guided(self.doubt(confidence)):
            if "auxiliary" not in self.embeddings:
                return super().embed(images)
            return self._embedded("auxiliary", self.auxiliary(images), images.shape[2:]).float()

    @classmethod
    def check(cls, setting: Setting, options: MultiCUREOptions) -> list[str]:
        """Adds: the second network must take the patch."""
        problems = super().check(setting, options)
        return (
            problems if options.second is None else problems + refuses_patch(setting, options.second, "method.second")
        )

    def _taught(
        self, images: Tensor, auxiliary: Tensor, predictive: Tensor, pseudo: PseudoLabels, batch: Batch
    ) -> dict[str, Tensor]:
        """Eq. 2 over the certain voxels; no gradient reaches the predictive network."""
        sure = pseudo.confidence.gt(self.options.threshold) & valid_unlabeled(batch)
        target = Annotated(images, pseudo.labels.masked_fill(~sure, IGNORE))
        taught = supervised_loss(auxiliary, target, self.options)
        distance = (full(auxiliary).softmax(1) - full(predictive).detach().softmax(1)).abs()
        differ = auxiliary.argmax(1).ne(pseudo.labels) & sure
        weight = self.options.unlabeled
        return {"pseudo": weight * taught, "rectify": weight * self.options.rectify * masked_mean(distance, differ)}

    def _contrast(self, features: dict[str, Features], pseudo: PseudoLabels, batch: Batch) -> Tensor:
        """Eq. 4 and 5 with the separation of the prototypes, for every network that has an embedding."""
        options, valid = self.options, valid_unlabeled(batch)
        uncertain = self.doubt(pseudo.confidence).bool()
        named = features[options.candidates].logits.argmax(1)
        terms = []
        for name in self.embeddings:
            embedded = self._embedded(name, features[name], pseudo.labels.shape[1:])
            certain = ~uncertain & valid
            prototypes, known = class_prototypes(embedded, pseudo.labels, certain, self.task.classes, options.minimum)
            rows, labels = drawn(embedded, named, uncertain & valid, self.task.classes, options.samples)
            terms += [
                uncertain_prototype_contrastive(
                    rows, labels, prototypes.detach(), known, options.temperature, others_only=options.others_only
                ),
                options.separation * prototype_similarity(prototypes, known),
            ]
        return torch.stack(terms).sum()

    def _embedding(self, network: Network) -> MultiLevelEmbedding:
        sites = decoder_sites(network)[-self.options.levels :]
        return MultiLevelEmbedding(self.task.ndim, sites, self.options.embedding)

    def _embedded(self, name: str, features: Features, size: torch.Size) -> Tensor:
        embedded: Tensor = self.embeddings[name](features.decoder[-self.options.levels :], size)
        return embedded

    @torch.no_grad()
    def _monitors(self, pseudo: PseudoLabels, auxiliary: Tensor, clock: Clock) -> dict[str, Tensor | float]:
        after = self.doubt(full(auxiliary).softmax(1).amax(1))
        return {
            "uncertain_before": self.doubt(pseudo.confidence).mean(),
            "uncertain_after": after.mean(),
            "disagreement": auxiliary.argmax(1).ne(pseudo.labels).float().mean(),
            "contrast_weight": self.contrast_weight(clock),
        }


def block_site(network: Network) -> str:
    """Where MultiCURE puts its block: after the last but one skip connection has joined (V-Net: ``fusion.2``).

    A network of fewer skip connections has it at its last one, one without at its last but one decoder map.
    """
    for place in ("fusion", "decoder"):
        numbers = sorted(int(name.split(".")[1]) for name in network.sites if name.startswith(f"{place}."))
        if numbers:
            return f"{place}.{numbers[-2:][0]}"
    return next(reversed(network.sites))


def drawn(features: Tensor, labels: Tensor, among: Tensor, classes: int, samples: int) -> tuple[Tensor, Tensor]:
    """Voxels of every class, at most so many each, by chance and without waiting for the device.

    Args:
        features: (B, D, *spatial).
        labels: (B, *spatial).
        among: (B, *spatial) bool, the voxels that may be drawn.
        classes: K.
        samples: voxels per class, at most.

    Returns:
        features (K * samples, D) and their classes (K * samples,): ``IGNORE`` where a class has fewer voxels.
    """
    chance = 1 - torch.rand(labels.numel(), device=labels.device)  # never 0
    flat, free = labels.flatten(), among.flatten()
    places, numbers = [], []
    for number in range(classes):
        best, place = chance.masked_fill(~(free & flat.eq(number)), 0.0).topk(min(samples, len(flat)))
        places.append(place)
        numbers.append(torch.where(best.gt(0), number, IGNORE))
    where, size = torch.cat(places), labels[0].numel()
    return features.flatten(2)[where // size, :, where % size], torch.cat(numbers)


def _rest(features: Features, count: int) -> Features:
    """The features of all images after the first ``count``."""
    return Features(
        tuple(feature[count:] for feature in features.encoder),
        tuple(feature[count:] for feature in features.decoder),
        features.logits[count:],
    )
