"""Training on the labeled images alone, and the supervised part that all methods share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from paucis.batch import Annotated, Batch, Task
from paucis.losses.segmentation import segmentation_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.options import option


@dataclass(frozen=True)
class SupervisedOptions:
    """The loss against labels; options of methods inherit from it, so that all are trained with the same one."""

    ce: float = option(0.5, "weight of the cross-entropy on labels", minimum=0.0)
    dice: float = option(0.5, "weight of the Dice loss on labels", minimum=0.0)
    dice_background: bool = option(True, "whether the Dice loss counts the background as a class")
    dice_squared: bool = option(True, "squared terms in the denominator of the Dice loss")


def supervised_loss(logits: Tensor, annotated: Annotated, options: SupervisedOptions) -> Tensor:
    """``ce * CE + dice * Dice`` of logits (B, K, *spatial) against labels, weighted by their confidence."""
    return segmentation_loss(
        logits,
        annotated.labels,
        weights=annotated.weights,
        ce=options.ce,
        dice=options.dice,
        include_background=options.dice_background,
        squared=options.dice_squared,
    )


@register("supervised")
class Supervised(Method):
    """One network, trained on the labeled images with the mean of cross-entropy and Dice loss.

    Reference:
        The baseline of the semi-supervised literature, such as L. Yu et al.: Uncertainty-aware self-ensembling model
        for semi-supervised 3D left atrium segmentation. MICCAI 2019.

    Deviations:
        none known; papers differ in whether the Dice loss counts the background and squares its denominator: see
        ``dice_background`` and ``dice_squared``.
    """

    Options = SupervisedOptions
    uses_unlabeled = False

    def __init__(self, build: Build, task: Task, options: SupervisedOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The loss of the labeled images."""
        assert batch.labeled is not None
        features = self.network(batch.labeled.images)
        loss = supervised_loss(features.logits, batch.labeled, self.options)
        return StepResult({"supervised": loss}, aligned=Aligned(features, batch.labeled.labels))
