"""Refinement by uncertainty: a network from scratch on pseudo-labels, each weighted by how sure it is."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from paucis.batch import IGNORE, Batch, Task
from paucis.losses.segmentation import cross_entropy
from paucis.methods.base import Build, Clock, Method, Phase, Prediction, Stage, StepResult
from paucis.methods.ld import LocalDiscrimination
from paucis.methods.parts.surveying import Surveying
from paucis.methods.shape_guided.options import CERTAIN_LABELS, NAME, REFINED, SHAPES, ShapeGuidedOptions, chosen
from paucis.networks.base import Network


class CertainRetraining(Surveying):
    """``L = mean over voxels of -w log p(r**)`` (Eq. 23) on pseudo-labels r** with uncertainties u (Eq. 21-22).

    ``w`` is ``1 - u`` (``certain``), ``u`` as printed (``uncertain``: doubtful voxels teach most, sure ones nothing) or
    1 (``uniform``). Its answers are its own, ``refined``, and those of the generator of the labels; retrainings by
    other weightings that came before are answers by name (``refined_uniform``).

    Args:
        build: makes a freshly initialised network.
        task: the task.
        options: of all stages.
        generator: the network that the labels are of; copied.
        weighting: what w is.
        earlier: networks of the retrainings before, by weighting.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.

    Deviations:
        two channels and a softmax instead of one and a sigmoid. The network is the configured one.
    """

    name = NAME
    Options = ShapeGuidedOptions
    uses_labeled = False

    def __init__(
        self,
        build: Build,
        task: Task,
        options: ShapeGuidedOptions,
        generator: Surveying,
        weighting: str = "certain",
        earlier: dict[str, Network] | None = None,
    ) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.generator = deepcopy(generator).requires_grad_(False)
        self.weighting = weighting
        self.earlier = nn.ModuleDict({name: deepcopy(network) for name, network in (earlier or {}).items()})
        self.earlier.requires_grad_(False)
        self.output = REFINED
        trained = [*self.earlier, weighting]
        several = [f"{REFINED}_{name}" for name in trained] if len(trained) > 1 else []
        self.outputs = (REFINED, *self.generator.outputs, *several)
        self._answers = {REFINED: trained[0], **{f"{REFINED}_{name}": name for name in trained}}

    def train(self, mode: bool = True) -> CertainRetraining:
        """The generator and earlier networks stay in eval mode."""
        super().train(mode)
        self.generator.eval()
        self.earlier.eval()
        return self

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The loss of Eq. 23."""
        assert batch.pseudo is not None
        images, labels, certainty = batch.pseudo
        assert certainty is not None
        weights = {"certain": certainty, "uncertain": 1 - certainty, "uniform": None}[self.weighting]
        loss = cross_entropy(self.network(images).logits, labels, weights=weights)
        known = labels.ne(IGNORE)
        share = labels.where(known, 0).gt(0).sum() / known.sum().clamp(min=1)
        sure = torch.where(known, certainty, 0.0).sum() / known.sum().clamp(min=1)
        return StepResult({"pseudo": loss}, {"target_share": share, "certainty": sure})

    def choose(self, output: str) -> None:
        """``refined`` or an answer of the generator, which then gives it."""
        self.output = chosen(self, output)
        if output in self.generator.outputs:
            self.generator.choose(output)

    @property
    def looks_first(self) -> bool:
        """Only for the generator's clustering."""
        return self.output in self.generator.outputs and self.generator.looks_first

    def survey(self, images: Tensor) -> Tensor:
        """The generator's."""
        return self.generator.survey(images)

    def summary(self, maps: Tensor, inside: Tensor) -> Tensor:
        """The generator's."""
        return self.generator.summary(maps, inside)

    def answer(self, images: Tensor, summary: Tensor | None) -> Prediction:
        """That of a retrained network, or the generator's."""
        if self.output in self.generator.outputs:
            return self.generator.answer(images, summary)
        name = self._answers[self.output]
        network = self.network if name == self.weighting else self.earlier[name]
        return Prediction({"probabilities": network(images).logits.float().softmax(1)})

    def cluster(self, images: Tensor) -> Tensor:
        """The generator's clusters (B, C, *spatial)."""
        assert isinstance(self.generator, LocalDiscrimination)
        return self.generator.cluster(images)


def retraining(options: ShapeGuidedOptions) -> tuple[Stage, ...]:
    """A stage for every weighting, all on the same labels."""
    return tuple(_stage(options, number) for number in range(len(options.weighting)))


def _stage(options: ShapeGuidedOptions, number: int) -> Stage:
    def make(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
        done = {name: earlier[_name(options, k)].networks()[0] for k, name in enumerate(options.weighting[:number])}
        generator = cast(Surveying, earlier[SHAPES])
        return CertainRetraining(build, task, options, generator, options.weighting[number], done)

    settings = {"kind": "adam", "rate": 1e-3, "weight_decay": 0.0, "schedule": "constant"}
    share = options.refinement / len(options.weighting)
    return Stage(_name(options, number), make, share, before=CERTAIN_LABELS, labeler=SHAPES, optimizer=settings)


def _name(options: ShapeGuidedOptions, number: int) -> str:
    return REFINED if len(options.weighting) == 1 else f"{REFINED}_{options.weighting[number]}"
