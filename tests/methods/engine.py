"""What the engine does with a method, in a few lines: stages, phases, seeds per step, memory after the step."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paucis.batch import IGNORE, Annotated, Batch, Task
from paucis.methods.base import METHODS, Build, Clock, Method, Phase, Setting, Stage, StepResult
from paucis.networks.base import Network
from paucis.networks.unet import UNet, UNetOptions

TASKS = {
    2: Task(2, 1, 4, (32, 24), (1.0, 1.0), flips=(0, 1)),
    3: Task(3, 1, 4, (16, 8, 12), (1.0, 2.0, 1.0), flips=(0, 1, 2)),
}
GIVEN: dict[str, dict[str, Any]] = {"classification": {"labels": str(Path(__file__).with_name("image_classes.csv"))}}
"""Options without which a method cannot be."""
TOTAL = 100
LATE = 90
"""A step at which ramps have risen."""


def builder(task: Task, **network: Any) -> Build:
    """Makes small U-Nets, whatever kind of network is asked for."""
    given = {
        "features": 4,
        "upsampling": "transposed",
        "depth": 2,
        "normalization": "batch",
        "dropout": (0.1,),
        **network,
    }

    def build(name: str | None = None, **options: Any) -> Network:
        return UNet(task, UNetOptions(**{**given, **(options if name is None else {})}))

    return build


def make_batch(task: Task, seed: int = 0, labeled: int = 2, unlabeled: int = 2) -> Batch:
    """Images whose intensity says the class, more or less; some voxels ignored, some invalid."""
    generator = torch.Generator().manual_seed(seed)
    count = labeled + unlabeled
    coarse = torch.rand((count, 1, *[4] * task.ndim), generator=generator) * task.classes
    classes = nn.functional.interpolate(coarse, size=task.patch, mode="nearest").squeeze(1).long()
    noise = torch.randn((count, task.channels, *task.patch), generator=generator)
    images = classes.unsqueeze(1) - 1.5 + 0.3 * noise
    labels = classes[:labeled].clone()
    labels[:, :1] = IGNORE
    valid = torch.ones((unlabeled, *task.patch), dtype=torch.bool)
    valid[:, -2:] = False
    pseudo = Annotated(images[labeled:], classes[labeled:], torch.rand(valid.shape, generator=generator))
    return Batch(
        Annotated(images[:labeled], labels),
        images[labeled:],
        pseudo,
        references=(torch.rand((2 * unlabeled, 1, *task.patch), generator=generator) > 0.9).float(),
        valid=valid,
        cases=tuple(f"case_{number}" for number in range(count)),
        numbers=torch.arange(unlabeled),
        total=max(unlabeled, 2),
    )


def options_of(name: str, **options: Any) -> Any:
    """A method's options, with those without which it cannot be."""
    return METHODS.get(name).Options(**{**GIVEN.get(name, {}), **options})


def make_setting(task: Task, **changes: Any) -> Setting:
    """A setting in which every method works."""
    values = {"labeled": 4, "unlabeled": 8, "batch_size": 2, "unlabeled_batch_size": 2, "network": "unet"}
    return Setting(task, **{**values, **changes})


@dataclass
class Engine:
    """Trains one stage of a method.

    Attributes:
        method: what is trained.
        step: number of the next step.
        seed: of everything that is drawn.
        gradient: as ``Stage.gradient``.
        dtype: of automatic mixed precision; None for none.
    """

    method: Method
    step: int = LATE
    seed: int = 0
    gradient: bool = True
    dtype: torch.dtype | None = None
    graded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.phases = self.method.phases if self.gradient else (Phase("main", []),)
        self.optimizers = [_optimizer(phase) for phase in self.phases if self.gradient]

    def train(self, *batches: Batch) -> list[list[StepResult]]:
        """Results of each step's phases."""
        return [self._train(batch) for batch in batches]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return deepcopy({"method": self.method.state_dict(), "optimizers": optimizers, "step": self.step})

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.method.load_state_dict(state["method"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def _train(self, batch: Batch) -> list[StepResult]:
        self.method.train()
        torch.manual_seed(1000 * self.seed + self.step)
        clock = Clock(self.step, TOTAL)
        with torch.autocast("cpu", self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            results = [self._phase(batch, clock, number) for number in range(len(self.phases))]
        with torch.no_grad():
            self.method.after_step(clock, results[0])
        self.step += 1
        return results

    def _phase(self, batch: Batch, clock: Clock, number: int) -> StepResult:
        phase = self.phases[number]
        if not self.gradient:
            with torch.no_grad():
                return self.method.step(batch, clock, phase)
        mine = {id(parameter) for parameter in phase.parameters}
        others = [p for each in self.phases for p in each.parameters if id(p) not in mine]
        for parameter in others:
            parameter.requires_grad_(False)
        result = self.method.step(batch, clock, phase)
        self.method.zero_grad(set_to_none=True)
        result.total.backward()
        self.graded |= {name for name, p in self.method.named_parameters() if p.grad is not None}
        self.optimizers[number].step()
        for parameter in others:
            parameter.requires_grad_(True)
        return result


def _optimizer(phase: Phase) -> torch.optim.Optimizer:
    if phase.optimizer.get("kind") in ("adam", "adamw"):
        return torch.optim.Adam(phase.parameters, lr=phase.optimizer.get("rate", 1e-3))
    return torch.optim.SGD(phase.parameters, lr=0.01, momentum=0.9)


def make(name: str, ndim: int, seed: int = 0, network: dict[str, Any] | None = None, **options: Any) -> Method:
    """A method's only, or last, stage from fresh weights."""
    kind, task = METHODS.get(name), TASKS[ndim]
    torch.manual_seed(seed)
    return kind(builder(task, **(network or {})), task, options_of(name, **options))


def staged(
    name: str, ndim: int, options: dict[str, Any] | None = None, **network: Any
) -> Iterator[tuple[Stage, Method]]:
    """Every stage of a method, made from the stages before, which were trained for two steps."""
    kind, task = METHODS.get(name), TASKS[ndim]
    built: dict[str, Method] = {}
    stages = kind.stages(options_of(name, **(options or {})))
    for stage in stages:
        torch.manual_seed(0)
        method = stage.make(builder(task, **network), task, built)
        yield stage, method
        if stage is stages[-1]:
            return
        earlier = deepcopy(method) if stage.gradient else method
        Engine(earlier, gradient=stage.gradient).train(make_batch(task, 0), make_batch(task, 1))
        built[stage.name] = earlier.requires_grad_(False)


def parameters(method: nn.Module) -> Tensor:
    """All trainable parameters in a row."""
    return torch.cat([p.detach().flatten() for p in method.parameters() if p.requires_grad])


def values(results: list[list[StepResult]]) -> list[float]:
    """Every loss of every phase and step."""
    return [float(loss.detach()) for phases in results for result in phases for loss in result.losses.values()]


PLAIN = {"normalization": "none", "dropout": (0.0,)}
"""A network that sees each image alone and draws nothing."""


class Seen:
    """What a network was shown: images and whether it was in train mode, in order."""

    def __init__(self, network: nn.Module) -> None:
        self.images: list[Tensor] = []
        self.training: list[bool] = []
        network.register_forward_pre_hook(self._note)

    def _note(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images.append(inputs[0].detach().clone())
        self.training.append(network.training)


def step(method: Method, batch: Batch, number: int = LATE, seed: int = 0) -> StepResult:
    """The losses of one step, nothing moved."""
    method.train()
    torch.manual_seed(seed)
    return method.step(batch, Clock(number, TOTAL), method.phases[0])
