"""AUA: aleatoric uncertainty for pseudo-labels, then retraining with features drawn to class prototypes."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.losses.pairwise_contrast import pairwise_contrastive
from paucis.methods.aua.first import AleatoricConsistency, AuaOptions, sampled
from paucis.methods.aua.prototypes import PrototypeEstimation, prototype_loss, rows_of
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Setting, Stage, StepResult, register
from paucis.methods.parts.decoders import decoder_sites
from paucis.methods.parts.prototypes import Prototypes
from paucis.methods.parts.pseudo_labels import pseudo_labels
from paucis.methods.parts.student_teacher import teacher_problems
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import first, parts, valid_unlabeled
from paucis.networks.base import Features, Network
from paucis.networks.stochastic_head import StochasticNetwork

FIRST, PROTOTYPES, SECOND = "stage1", "prototypes", "stage2"


@register("aua")
class Aua(Method):
    """Three stages: a stochastic mean teacher, prototypes of its features, retraining with its pseudo-labels.

    - ``stage1``: ``L = L_sup + lambda_g GED + lambda_c L_BCL`` (Eq. 14), see ``first``.
    - ``prototypes``: mean and variance of each class's features over labeled crops (Eq. 13), by the trained student.
    - ``stage2``: a network from scratch, ``L = L_seg(labeled) + L_seg(pseudo-labeled) + lambda_r (PCL + PCL)``
      (Eq. 15), with ``L_seg = ce CE + dice Dice``.

    It predicts by the mean of the retrained network. Samples, on request, are those of the first stage's network: the
    retrained one has no stochastic head.

    Args:
        build: makes a freshly initialised network.
        task: the task.
        options: of all stages.
        labeler: the first stage's network; a fresh one where none is given.
        prototypes: copied; empty ones where none are given.

    Reference:
        H. Wu, X. Li, K.-T. Cheng: Exploring feature representation learning for semi-supervised medical image
        segmentation. arXiv 2021.

    Deviations:
        All heads sit on the network's last decoder map; the published V-Net has one more convolution there. The
        boundary set has voxels on both sides of every boundary and each vector has its own label: the published code
        takes one side of each face and mixes channels with voxels. Samples are drawn without a decomposition of the
        covariance. Prototypes are those of unit vectors, of the first stage alone, and all classes are contrasted; the
        published code takes raw vectors, brings means and variances to length 1, goes on updating in stage 2 and
        drops the background (``prototype_features=raw prototype_update=true prototype_classes=foreground``), and it
        labels with the first stage after half of its steps. Voxels on padding are not counted.
    """

    Options = AuaOptions

    def __init__(
        self,
        build: Build,
        task: Task,
        options: AuaOptions,
        labeler: StochasticNetwork | None = None,
        prototypes: Prototypes | None = None,
    ) -> None:
        super().__init__(build, task, options)
        self.network = build()
        channels = decoder_sites(self.network)[-1].channels
        labeler = StochasticNetwork(build(), channels, options.rank) if labeler is None else deepcopy(labeler)
        self.labeler = labeler.requires_grad_(False)
        self.prototypes: Prototypes | None = None
        if options.uses_prototypes:
            empty = Prototypes(task.classes, channels, options.covariance)
            self.prototypes = empty if prototypes is None else deepcopy(prototypes)

    def train(self, mode: bool = True) -> Aua:
        """The labeling network stays in eval mode."""
        super().train(mode)
        self.labeler.eval()
        return self

    def networks(self) -> tuple[Network, ...]:
        """The retrained network."""
        return (self.network,)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of Eq. 15."""
        labeled, options = parts(batch)[0], self.options
        pseudo, count = self._pseudo(batch), len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, pseudo.images]))
        logits = features.logits
        result = StepResult(
            {
                "supervised": supervised_loss(logits[:count], labeled, options),
                "pseudo": options.pseudo * supervised_loss(logits[count:], pseudo, options),
            },
            {"pseudo_foreground": (pseudo.labels.gt(0) & pseudo.labels.ne(IGNORE)).float().mean()},
            Aligned(first(features, count), labeled.labels),
        )
        if options.prototype:
            own, theirs = features.decoder[-1][:count], features.decoder[-1][count:]
            contrast = self._contrast(own, labeled.labels) + self._contrast(theirs, pseudo.labels)
            result.losses["prototype"] = options.prototype * contrast
        if self.prototypes is not None and options.prototype_update:
            unit = options.prototype_features == "unit"
            rows, labels = rows_of(features.decoder[-1][:count].detach(), labeled.labels, unit=unit)
            result.memory = {"rows": rows, "labels": labels}
        return result

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """The prototypes follow the labeled images, where they are asked to."""
        if self.prototypes is not None and result.memory:
            self.prototypes.update(result.memory["rows"], result.memory["labels"])

    @property
    def code_length(self) -> int:
        """The rank."""
        return int(self.options.rank)

    def sample(self, images: Tensor, codes: Tensor) -> Tensor:
        """Probabilities of the first stage's logits that the codes stand for."""
        return sampled(self.labeler, images, codes)

    @classmethod
    def stages(cls, options: AuaOptions) -> tuple[Stage, ...]:
        """``stage1``, ``prototypes`` where a loss needs them, and ``stage2``."""

        def second(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            estimated = earlier.get(PROTOTYPES)
            prototypes = None if estimated is None else cast(PrototypeEstimation, estimated).prototypes
            return cls(build, task, options, _labeler(earlier), prototypes)

        def estimation(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return PrototypeEstimation(build, task, options, _labeler(earlier).network)

        def begin(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return AleatoricConsistency(build, task, options)

        if options.retraining == 0:
            return (Stage(FIRST, begin),)
        middle = (Stage(PROTOTYPES, estimation, options.estimation, gradient=False),) if options.uses_prototypes else ()
        before = "pseudo-labels" if options.pseudo_labels == "windows" else None
        share = 1.0 - options.estimation - options.retraining
        return (Stage(FIRST, begin, share), *middle, Stage(SECOND, second, options.retraining, before=before))

    @classmethod
    def check(cls, setting: Setting, options: AuaOptions) -> list[str]:
        """Adds: shares that leave nothing for the first stage, and forms that exclude each other."""
        problems = super().check(setting, options) + teacher_problems(options)
        if options.retraining and options.estimation + options.retraining > 0.95:
            problems.append(
                f"method.estimation={options.estimation:g} and method.retraining={options.retraining:g} leave no steps "
                "for the first stage: their sum must not exceed 0.95"
            )
        if options.covariance == "full" and options.prototype_features == "raw":
            problems.append(
                "method.prototype_features=raw brings variances to length 1, which full covariances have none of: "
                "take method.covariance=diagonal"
            )
        return problems

    def _pseudo(self, batch: Batch) -> Annotated:
        """Unlabeled images with the first stage's labels, weighted by confidence where that is asked for."""
        if self.options.pseudo_labels == "windows":
            assert batch.pseudo is not None
            images, labels, confidence = batch.pseudo
            assert confidence is not None
        else:
            images, valid = parts(batch)[1], valid_unlabeled(batch)
            with torch.no_grad():
                labels, confidence = pseudo_labels(self.labeler.network(images).logits, valid)
        if self.options.pseudo_threshold:
            labels = labels.masked_fill(confidence < self.options.pseudo_threshold, IGNORE)
        return Annotated(images, labels, confidence if self.options.pseudo_weights else None)

    def _contrast(self, features: Tensor, labels: Tensor) -> Tensor:
        """Eq. 12, or Eq. 11 of random voxels."""
        options = self.options
        if options.prototype_classes == "foreground":
            labels = labels.masked_fill(labels.eq(0), IGNORE)
        rows, labels = rows_of(features, labels)
        if self.prototypes is not None:
            unit = options.prototype_features == "unit"
            return prototype_loss(rows, labels, self.prototypes, options.prototype_temperature, unit=unit)
        known = labels.ne(IGNORE).nonzero().squeeze(1)
        chosen = known[torch.randperm(len(known), device=known.device)[: options.prototype_pixels]]
        return pairwise_contrastive(rows[chosen], labels[chosen], options.prototype_temperature)


def _labeler(earlier: dict[str, Method]) -> StochasticNetwork:
    return cast(AleatoricConsistency, earlier[FIRST]).reported
