"""A method in two stages and a plug-in, as somebody outside would write them: found by ``module:Name``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.losses.segmentation import segmentation_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Stage, StepResult
from paucis.options import option
from paucis.plugins.base import Plugin


@dataclass(frozen=True)
class Options:
    trust: float = option(0.5, "confidence from which on a pseudo-label counts")


class SelfTraining(Method):
    """Learns from labels, then from its own pseudo-labels, after a stage that only counts."""

    name = "self_training"
    Options = Options
    seen: Tensor

    def __init__(self, build: Build, task: Task, options: Options, kind: str) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.kind = kind
        self.register_buffer("seen", torch.zeros(()))

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        assert batch.labeled is not None
        if self.kind == "count":
            assert not torch.is_grad_enabled()
            return StepResult({}, memory={"seen": torch.ones(())})
        features = self.network(batch.labeled.images)
        losses = {"supervised": segmentation_loss(features.logits, batch.labeled.labels)}
        if self.kind == "second":
            assert batch.pseudo is not None
            assert batch.pseudo.weights is not None
            logits = self.network(batch.pseudo.images).logits
            losses["pseudo"] = segmentation_loss(logits, batch.pseudo.labels, weights=batch.pseudo.weights)
        else:
            assert batch.pseudo is None
        return StepResult(losses, aligned=Aligned(features, batch.labeled.labels), memory={"seen": torch.ones(())})

    def after_step(self, clock: Clock, result: StepResult) -> None:
        self.seen += result.memory["seen"]

    @classmethod
    def stages(cls, options: Options) -> tuple[Stage, ...]:
        def second(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            method = cls(build, task, options, "second")
            method.load_state_dict(earlier["first"].state_dict())
            return method

        return (
            Stage("first", lambda build, task, _: cls(build, task, options, "first"), share=2),
            Stage("count", lambda build, task, earlier: cls(build, task, options, "count"), gradient=False),
            Stage("second", second, before="pseudo-labels", optimizer={"rate": 0.001}),
        )


@dataclass(frozen=True)
class PullOptions:
    weight: float = option(0.1, "weight of the loss")


class Pull(Plugin):
    """Pulls the features before the head to zero, through a scale of its own."""

    name = "pull"
    Options = PullOptions

    def __init__(self, task: Task, options: PullOptions) -> None:
        super().__init__(task, options)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def loss(self, aligned: Aligned, clock: Clock) -> dict[str, Tensor]:
        feature = aligned.features.decoder[-1].float()
        assert len(feature) == len(aligned.labels)
        return {"size": self.options.weight * self.scale * feature.square().mean()}
