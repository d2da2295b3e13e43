"""The one training step: phases in turn, losses checked, parameters moved, the method's memory brought up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from paucis.batch import Batch
from paucis.engine.devices import memory_format
from paucis.engine.optim import make_optimizer, phase_options, rate, set_rate
from paucis.engine.seeds import seed_step
from paucis.errors import PaucisError
from paucis.methods.base import Aligned, Clock, Method, Phase, StepResult, merge, trainable
from paucis.plugins.base import Plugin
from paucis.views.augment import BaseAugmentation

log = logging.getLogger(__name__)


class Loop(LightningModule):
    """One stage of a method as Lightning trains it.

    Lightning's own step count grows by one per optimizer, so the clock here counts batches.

    Args:
        method: what is trained.
        plugins: what it carries, already attached.
        augmentation: base augmentation, on the device.
        stage: name of the stage.
        start: batches done before (resuming).
        total: batches of the stage.
        seed: of the run.
        gradient: False for a stage that only estimates.
        optimizer: optimizer options of the stage, by name.
        given: what the user asked for by dotted key.
        clip: largest gradient norm per phase, or None.
        order: ``train.memory_format``.
        frozen: share of the steps in which the networks' encoders are not trained, their normalization included.
    """

    def __init__(
        self,
        method: Method,
        plugins: Sequence[Plugin],
        augmentation: BaseAugmentation,
        *,
        stage: str,
        start: int,
        total: int,
        seed: int,
        gradient: bool,
        optimizer: Mapping[str, Any],
        given: Mapping[str, Any],
        clip: float | None,
        order: str,
        frozen: float = 0.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.method = method
        self.plugins = nn.ModuleList(plugins)
        self.augmentation = augmentation
        self.stage, self.start, self.total, self.seed = stage, start, total, seed
        self.gradient, self.clip, self.order, self.frozen = gradient, clip, order, frozen
        self.phases = _with_plugins(method.phases, trainable(self.plugins)) if gradient else ()
        self.schedules = [phase_options(phase, optimizer, given) for phase in self.phases]
        self.made = [make_optimizer(p.parameters, o) for p, o in zip(self.phases, self.schedules, strict=True)]
        self.done = start
        self.latest: dict[str, Tensor | float] = {}
        self.pending: tuple[int, dict[str, Tensor], tuple[str, ...]] | None = None
        self.waited = 0.0
        self.left = time.perf_counter()  # when the last step and all that follows it was over

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return self.made

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        order = memory_format(self.order, device, self.method.task.ndim)
        return batch.map(lambda tensor: _placed(tensor, device, order))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.waited = time.perf_counter() - self.left

    def training_step(self, batch: Batch, index: int) -> None:
        clock = Clock(self.start + index, self.total)
        generator = seed_step(self.seed, self.stage, self.global_rank, clock.step)
        self.check_finite()
        still = self._hold_encoders(clock)
        with torch.no_grad():
            batch = self.augmentation(batch, generator)
        results = [self._phase(batch, clock, number, still) for number in range(len(self.phases))]
        if not self.gradient:
            with torch.no_grad():
                results = [self.method.step(batch, clock, Phase("main", []))]
        with torch.no_grad():
            self.method.after_step(clock, results[0])
        self._remember(results, batch.cases, clock)
        self.done = clock.step + 1

    def check_finite(self) -> None:
        """Stops on a loss that is not finite.

        On a GPU the losses of a step are looked at one step later, so that the step itself never waits for the host.

        Raises:
            PaucisError: names the step, the terms and the cases.
        """
        if self.pending is None:
            return
        (step, losses, cases), self.pending = self.pending, None
        bad = [name for name, loss in losses.items() if not bool(torch.isfinite(loss))]
        if bad:
            terms = ", ".join(f"{name}={float(loss):.4g}" for name, loss in losses.items())
            raise PaucisError(
                f"step {step}: loss '{bad[0]}' is not finite (all terms: {terms}; cases: {', '.join(cases)}); "
                "the last checkpoint is kept: lower optimizer.rate, or train with train.precision=32"
            )

    def _hold_encoders(self, clock: Clock) -> set[int]:
        """Puts encoders that are not to move yet into eval mode; the ids of their parameters."""
        if not self.frozen:
            return set()
        parts = [part for network in self.method.networks() for part in network.encoder_parts()]
        held = clock.fraction < self.frozen
        for part in parts:
            part.train(not held)
        return {id(parameter) for part in parts for parameter in part.parameters()} if held else set()

    def _phase(self, batch: Batch, clock: Clock, number: int, still: set[int]) -> StepResult:
        phase, optimizer = self.phases[number], self.made[number]
        set_rate(optimizer, rate(self.schedules[number], clock))
        moving = [parameter for parameter in phase.parameters if id(parameter) not in still]
        with _only(moving, merge(*(other.parameters for other in self.phases))):
            result = self.method.step(batch, clock, phase)
            if number == 0:
                self._add_plugin_losses(result, batch, clock)
            self.pending = (clock.step, {k: v.detach() for k, v in result.losses.items()}, batch.cases)
            if self.device.type == "cpu":
                self.check_finite()
            optimizer.zero_grad(set_to_none=True)
            self.manual_backward(result.total)
        wrapped = self.optimizers(use_pl_optimizer=True)
        wrapped = wrapped[number] if isinstance(wrapped, list) else wrapped
        if self.clip is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(phase.parameters, self.clip)
        wrapped.step()
        torch.clear_autocast_cache()  # else the next phase computes with half-precision copies of the old weights
        return result

    def _add_plugin_losses(self, result: StepResult, batch: Batch, clock: Clock) -> None:
        plugins = [plugin for plugin in self.plugins if isinstance(plugin, Plugin)]
        carried = [plugin for plugin in plugins if type(plugin).loss is not Plugin.loss]
        if not carried:
            return
        aligned = result.aligned
        if aligned is None:
            if batch.labeled is None:
                return
            features = self.method.networks()[0](batch.labeled.images)
            aligned = Aligned(features, batch.labeled.labels)
        for plugin in carried:
            for name, loss in plugin.loss(aligned, clock).items():
                result.losses[f"{plugin.name}/{name}"] = loss

    def _remember(self, results: Sequence[StepResult], cases: tuple[str, ...], clock: Clock) -> None:
        self.latest = {}
        for result in results:
            self.latest |= {name: loss.detach() for name, loss in result.losses.items()}
            self.latest |= result.monitors
        for phase, schedule in zip(self.phases, self.schedules, strict=True):
            self.latest["rate" if phase.name == "main" else f"rate_{phase.name}"] = rate(schedule, clock)
        if results:
            self.latest["loss"] = results[0].total.detach()


def place(module: nn.Module, device: torch.device, order: torch.memory_format) -> None:
    """Puts the convolutions' weights into ``order``; 2D and 3D ones may stand side by side."""
    if order is torch.contiguous_format:
        return
    for parameter in module.parameters():
        parameter.data = _placed(parameter.data, device, order)


def _placed(tensor: Tensor, device: torch.device, order: torch.memory_format) -> Tensor:
    tensor = tensor.to(device, non_blocking=True)
    if order is torch.contiguous_format or not tensor.is_floating_point():
        return tensor
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    return tensor if last is None else tensor.contiguous(memory_format=last)


def _with_plugins(phases: Sequence[Phase], extra: list[nn.Parameter]) -> tuple[Phase, ...]:
    first = phases[0]
    return (Phase(first.name, merge(first.parameters, extra), first.optimizer), *phases[1:])


@contextmanager
def _only(mine: list[nn.Parameter], all_: list[nn.Parameter]) -> Iterator[None]:
    """Within the block only ``mine`` take a gradient: a generator's step leaves its discriminator alone."""
    kept = {id(parameter) for parameter in mine}
    others = [parameter for parameter in all_ if id(parameter) not in kept]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
