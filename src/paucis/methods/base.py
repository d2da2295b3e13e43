"""The contract of a method: what it is given, what it returns, what the engine does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.networks.base import Network
from paucis.registry import Registry

METHODS: Registry[Method] = Registry("method", "paucis.methods")
register = METHODS.register

Build = Callable[..., Network]
"""Makes a freshly initialised network of the configured kind; ``build("vnet", normalization="instance")`` makes
another kind, or the same with other options (``build(None, ...)``)."""


@dataclass(frozen=True)
class Clock:
    """Where training stands. It counts batches, not calls of an optimizer.

    Attributes:
        step: 0 for the first batch of the stage.
        total: batches of the whole stage.
    """

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """Share of the stage that lies behind, in [0, 1)."""
        return self.step / max(self.total, 1)


class Phase(NamedTuple):
    """A set of parameters with an optimizer of its own.

    Attributes:
        name: ``main``, ``discriminator`` ...
        parameters: what this phase's optimizer moves.
        optimizer: settings that differ from the run's (``kind``, ``rate``, ``schedule`` ...), by name.
    """

    name: str
    parameters: list[nn.Parameter]
    optimizer: dict[str, Any] = {}  # noqa: RUF012  (read only)


class Aligned(NamedTuple):
    """The network's features of annotated images, with labels of the same geometry: what a plug-in may use.

    Attributes:
        features: a ``paucis.networks.base.Features``.
        labels: (B, *spatial) int64, ``IGNORE`` where nothing is known.
    """

    features: Any
    labels: Tensor


@dataclass
class StepResult:
    """What one step of one phase gives.

    Attributes:
        losses: named losses, already weighted; their sum is minimised.
        monitors: figures to log (a ramp's weight, the share of certain voxels).
        aligned: features and labels for plug-ins; None makes a plug-in run its own forward pass of the labeled images.
        memory: detached tensors that ``after_step`` needs (this step's anchors).
    """

    losses: dict[str, Tensor]
    monitors: dict[str, Tensor | float] = field(default_factory=dict)
    aligned: Aligned | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the losses; 0 where a stage without gradient has none."""
        if not self.losses:
            return torch.zeros(())
        return torch.stack([loss.float() for loss in self.losses.values()]).sum()


class Prediction(NamedTuple):
    """A method's answer for a batch of windows.

    Attributes:
        additive: maps that may be averaged over windows and views, each (B, channels, *spatial); ``probabilities``
            (B, K, *spatial) is always there.
        samples: (S, B, K, *spatial) coherent samples, or None.
        members: probabilities of each named answer, where a method has several.
    """

    additive: dict[str, Tensor]
    samples: Tensor | None = None
    members: dict[str, Tensor] = {}  # noqa: RUF012  (read only)


@dataclass(frozen=True)
class Setting:
    """What a method can ask about the data before anything runs.

    Attributes:
        task: the task.
        labeled: labeled training cases.
        unlabeled: unlabeled training cases.
        batch_size: labeled crops a step.
        unlabeled_batch_size: unlabeled crops a step.
        network: name of the configured network.
        cases: names of the unlabeled training cases; empty where they are not known.
    """

    task: Task
    labeled: int
    unlabeled: int
    batch_size: int
    unlabeled_batch_size: int
    network: str
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A part of a method's training that the engine runs on its own, resumable.

    Attributes:
        name: names its folder in the run.
        make: builds the stage's method from (build, task, the methods of the stages before by name).
        share: share of ``train.steps`` that it takes, of the sum over all stages.
        gradient: False for a stage that only estimates (one pass of ``step`` under no_grad, no optimizer).
        before: inference to run first: ``pseudo-labels`` writes them from the stage before; ``certain-labels`` from
            many looks of the stage ``labeler``, with their certainty.
        optimizer: optimizer settings that differ from the run's, by name.
        labeler: name of the earlier stage that ``certain-labels`` are of.
        continues: True where the networks are those of an earlier stage, trained on: ``--init`` leaves them alone.
    """

    name: str
    make: Callable[[Build, Task, dict[str, Method]], Method]
    share: float = 1.0
    gradient: bool = True
    before: str | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    continues: bool = False
    labeler: str | None = None


class Method(nn.Module):
    """A published way to train a segmentation network. Pure torch: no paths, devices, trainer or logging.

    A subclass sets ``Options``, builds its networks in ``__init__``, and says in ``step`` what one batch teaches
    them, one line per equation. Everything it remembers lies in registered buffers, so that it is saved and resumed.

    Args:
        build: makes a freshly initialised network (``Build``).
        task: the task.
        options: an instance of the class's ``Options``.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    uses_labeled: ClassVar[bool] = True
    uses_unlabeled: ClassVar[bool] = True
    pretrains: ClassVar[bool] = False
    """Whether it only prepares a network for other methods (``paucis pretrain``)."""
    uses_references: ClassVar[bool] = False
    """Whether it learns what to find from reference masks of other images (``paucis discover``)."""
    outputs: tuple[str, ...] = ()
    """Names of its answers, the one that ``predict`` gives first in line, where it has several (``choose``)."""

    def __init__(self, build: Build, task: Task, options: Any) -> None:
        super().__init__()
        self.task = task
        self.options = options

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Parameters and their optimizers; every trainable parameter in one phase unless overridden."""
        return (Phase("main", trainable(self)),)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Losses of one batch in one phase."""
        raise NotImplementedError

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """Called under no_grad once all phases of the batch have moved: EMA, queues, prototypes."""

    def networks(self) -> tuple[Network, ...]:
        """Its trained networks, the reported one first: where plug-ins attach and pretrained weights go."""
        return tuple(module for module in self.children() if isinstance(module, Network))

    def predict(self, images: Tensor) -> Prediction:
        """Probabilities (and further maps) of a batch of windows (B, C, *spatial); the module is in eval mode."""
        return Prediction({"probabilities": self.networks()[0](images).logits.float().softmax(1)})

    def choose(self, output: str) -> None:
        """Makes ``predict`` give the answer of this name from now on.

        Raises:
            PaucisError: it has no such answer.
        """
        raise PaucisError(f"output={output}: a run of '{self.name}' has one answer: leave it out")

    @property
    def remark(self) -> str | None:
        """What a user should know of the training as it stands, in one line; None where all is well."""
        return None

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D, *spatial) of every pixel: the layer before the head, at the images' size."""
        network = self.networks()[0]
        features = network(images).decoder[-1].float()
        mode = "bilinear" if self.task.ndim == 2 else "trilinear"
        return nn.functional.interpolate(features, size=images.shape[2:], mode=mode, align_corners=False)

    @property
    def code_length(self) -> int:
        """Numbers that make a sample of a whole scan; 0 for a method that draws none."""
        return 0

    def sample(self, images: Tensor, codes: Tensor) -> Tensor:
        """Probabilities (S, B, K, *spatial) of windows, one sample for each row of ``codes`` (S, code_length).

        Prediction gives all windows of a scan the same codes, drawn from a standard normal distribution: what the
        method makes of equal codes is what belongs together.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, setting: Setting, options: Any) -> list[str]:
        """What it cannot work with in this setting, one line each; empty when all is well."""
        problems = []
        if cls.uses_labeled and setting.labeled == 0:
            problems.append(f"method '{cls.name}' needs labeled cases, and there are none")
        if cls.uses_unlabeled and setting.unlabeled == 0:
            problems.append(
                f"method '{cls.name}' learns from unlabeled cases, and there are none: add images without labels, "
                "ask for fewer --labels, or train with --method supervised"
            )
        return problems

    @classmethod
    def stages(cls, options: Any) -> tuple[Stage, ...]:
        """Its stages in order; one that runs the method itself unless overridden."""
        return (Stage("train", lambda build, task, _: cls(build, task, options)),)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module that take a gradient."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def merge(*groups: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters of several groups, each once, in order."""
    seen: dict[int, nn.Parameter] = {}
    for group in groups:
        for parameter in group:
            seen.setdefault(id(parameter), parameter)
    return list(seen.values())
