"""Training on the labeled images alone."""

from __future__ import annotations

from paucis.batch import Batch, Task
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.methods.parts.supervision import SupervisedOptions, supervised_loss


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
