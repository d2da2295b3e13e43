"""Runs a method's stages one after another on Lightning's Trainer, each resumable, each leaving its weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from paucis.batch import Task
from paucis.data.sampling import BatchStream, loader
from paucis.data.shapes import ShapePrior
from paucis.engine import checkpoint, devices
from paucis.engine.allocation import keep_freed_memory
from paucis.engine.callbacks import Follow, Interrupted, Report
from paucis.engine.certain_labels import write_certain_labels
from paucis.engine.compiled import compile_networks
from paucis.engine.config import Config
from paucis.engine.loop import Loop, place
from paucis.engine.pseudo import write_pseudo_labels
from paucis.engine.records import CsvRecord
from paucis.engine.runs import RunFolder, frozen_share, load_into, make_stage, stage_number, stages
from paucis.errors import PaucisError
from paucis.methods.base import METHODS, Method, Stage
from paucis.methods.shape_guided import ShapeGuided
from paucis.networks import guard_convolutions
from paucis.views.augment import BaseAugmentation

log = logging.getLogger(__name__)

_ONE_VALUE = "Expected more than 1 value per channel"
"""What torch says of a batch normalization that has one value to take mean and variance of."""


@dataclass
class Material:
    """Cached cases by role, as the streams read them, and reference masks."""

    labeled: Sequence[Any]
    unlabeled: Sequence[Any]
    validation: Sequence[Any]
    shapes: ShapePrior | None = None


def fit(
    folder: RunFolder,
    config: Config,
    task: Task,
    classes: Sequence[str],
    material: Material,
    batch_size: int,
    report: Report | None = None,
    *,
    only: str | None = None,
    anew: str | None = None,
) -> None:
    """Trains every stage that is not finished.

    Args:
        folder: the run folder; a checkpoint in it is gone on from.
        config: resolved configuration.
        task: the task.
        classes: class names.
        material: cached cases.
        batch_size: labeled crops a step, over all processes.
        report: told after every step.
        only: the one stage to train; those before it must be finished.
        anew: the stage to begin with, whatever it and those after it have left.

    Raises:
        PaucisError: no such stage, or one before it is not finished; a loss that is not finite, memory that ran out, a
            loader process that died, one value left to normalize.
        Interrupted: Ctrl-C; the run is saved and usable.
    """
    plan_of_stages = stages(config)
    shares = sum(stage.share for stage in plan_of_stages)
    begin = len(plan_of_stages) if anew is None else stage_number(config, anew, "--from-stage")
    last = len(plan_of_stages) - 1 if only is None else stage_number(config, only, "--stage")
    if devices.rank() == 0 and anew is not None:
        folder.forget([stage.name for stage in plan_of_stages[begin:]])
    built: dict[str, Method] = {}
    for number, stage in enumerate(plan_of_stages[: last + 1]):
        method, plugins = make_stage(stage, config, task, built)
        total = max(1, round(config.train.steps * stage.share / shares))
        if number >= begin or not _finished(folder, stage):
            if only is not None and number < last:
                raise PaucisError(f"--stage {only}: stage '{stage.name}' before it is not finished: train that first")
            before = plan_of_stages[number - 1].name
            try:
                pseudo = _labels(folder, stage, built, before, task, material, config, report)
            except KeyboardInterrupt:  # labels that are written are not written again
                folder.state(status="stopped")
                raise Interrupted from None
            fresh = number >= begin
            run = _Stage(folder, config, stage, task, classes, material, batch_size, total, pseudo, fresh)
            asked_to_stop = run.train(method, plugins, report)
            if asked_to_stop and number < last:  # in the stage's last step
                folder.state(status="stopped")
                raise Interrupted
        load_into(method, folder.weights(stage.name))
        _in_order(method, config, task)  # a stage that was trained before now computes as one that has just been
        built[stage.name] = method.requires_grad_(False)


def _labels(
    folder: RunFolder,
    stage: Stage,
    built: dict[str, Method],
    before: str,
    task: Task,
    material: Material,
    config: Config,
    report: Report | None,
) -> Any:
    """What the networks of earlier stages make of the unlabeled cases, where a stage learns from that."""
    if stage.before == "pseudo-labels":
        return write_pseudo_labels(folder.stage(stage.name), built[before], task, material.unlabeled, config)
    if stage.before == "certain-labels":
        assert stage.labeler is not None
        generator, place = cast(ShapeGuided, built[stage.labeler]), folder.stage(stage.labeler)
        return write_certain_labels(place, generator, task, material.unlabeled, config, report)
    return None


@dataclass
class _Stage:
    """One stage of one run on one Trainer."""

    folder: RunFolder
    config: Config
    stage: Stage
    task: Task
    classes: Sequence[str]
    material: Material
    batch_size: int
    total: int
    pseudo: Any
    fresh: bool  # whether a checkpoint is of no account

    def train(self, method: Method, plugins: Sequence[Any], report: Report | None) -> bool:
        """Trains the stage to its end; whether Ctrl-C came in its last step."""
        config, path = self.config, self.folder.stage(self.stage.name)
        device = devices.resolve(config.device)
        processes = self._processes(device)
        devices.share_cores(processes if device.type == "cpu" else 1)
        if device.type == "cpu":
            keep_freed_memory()
        precision = devices.precision(config.train.precision, device)
        saved = path / "checkpoint.pt"
        resumed = checkpoint.load(saved) if saved.is_file() and not self.fresh else None
        loop = self._loop(method, plugins, resumed["step"] if resumed else 0)
        if resumed:
            checkpoint.restore(loop, resumed)
        training, validation = CsvRecord(self.folder.training_file), CsvRecord(self.folder.validation_file)
        if devices.rank() == 0:
            training.cut(self.stage.name, loop.start)
            validation.cut(self.stage.name, loop.start)
            self.folder.state(status="training", stage=self.stage.name)
        cases = self.material.validation if self.stage.gradient else []  # an estimate is best when it is complete
        follow = Follow(path, config, cases, self.classes, precision, training, validation, report, resumed)
        trainer = self._trainer(device, processes, precision, follow)
        self._run(trainer, loop, processes, device)
        if trainer.is_global_zero:
            self._finish(follow, loop)
        trainer.strategy.barrier("stage")
        return follow.stop

    def _loop(self, method: Method, plugins: Sequence[Any], start: int) -> Loop:
        config = self.config
        _in_order(method, config, self.task)
        guard_convolutions(method)
        if config.train.compile:
            compile_networks(method)
        return Loop(
            method,
            plugins,
            BaseAugmentation(self.task, config.augment),
            stage=self.stage.name,
            start=start,
            total=self.total,
            seed=config.seed,
            gradient=self.stage.gradient,
            optimizer=self.stage.optimizer,
            given=config.given,
            clip=config.train.clip,
            order=config.train.memory_format,
            frozen=frozen_share(config, self.stage),
        )

    def _trainer(self, device: torch.device, processes: int, precision: devices.Precision, follow: Follow) -> Trainer:
        many = processes * self.config.train.nodes > 1
        indices: list[int] | int = [device.index] if device.index is not None and processes == 1 else processes
        _quiet()
        return Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=indices,
            num_nodes=self.config.train.nodes,
            strategy="ddp_find_unused_parameters_true" if many else "auto",
            precision=precision,
            max_epochs=1,
            logger=TensorBoardLogger(self.folder.path, name="", version="events"),
            callbacks=[follow],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=10**9,
        )

    def _run(self, trainer: Trainer, loop: Loop, processes: int, device: torch.device) -> None:
        if loop.start >= loop.total:
            return
        world = processes * self.config.train.nodes
        method = METHODS.get(self.config.method)
        labeled = -(-self.batch_size // world)
        unlabeled = -(-(self.config.train.unlabeled_batch_size or self.batch_size) // world)
        stream = BatchStream(
            labeled=self.material.labeled if method.uses_labeled else [],
            unlabeled=self.material.unlabeled if method.uses_unlabeled else [],
            pseudo=self.pseudo,
            shapes=self.material.shapes if loop.method.uses_references else None,
            task=self.task,
            batch_size=labeled,
            unlabeled_batch_size=unlabeled,
            foreground=self.config.data.foreground,
            seed=self.config.seed,
            rank=devices.rank(),
            world=world,
        )
        workers = self.config.train.workers
        if workers is None:
            workers = min(8, max(1, devices.cores() // max(processes, 1) - 1))
        try:
            trainer.fit(loop, train_dataloaders=loader(stream, loop.start, loop.total, workers))
        except Interrupted:
            self.folder.state(status="stopped", step=loop.done)
            raise
        except (RuntimeError, ValueError) as error:
            raise _explained(error, device) from error

    def _finish(self, follow: Follow, loop: Loop) -> None:
        done = {"stage": self.stage.name, "steps": loop.total, "best": follow.best or None}
        self.folder.state(
            status="finished",
            step=loop.total,
            results={**self.folder.state().get("results", {}), self.stage.name: done},
        )

    def _processes(self, device: torch.device) -> int:
        outside = devices.started_outside()
        if outside:
            return outside
        if self.config.train.devices is not None:
            available = torch.cuda.device_count() if device.type == "cuda" else devices.cores()
            if device.type == "cuda" and self.config.train.devices > available:
                raise PaucisError(
                    f"train.devices={self.config.train.devices}: only {available} CUDA device(s) are visible"
                )
            return self.config.train.devices
        return torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1


def _in_order(method: Method, config: Config, task: Task) -> None:
    device = devices.resolve(config.device)
    place(method, torch.device("cpu"), devices.memory_format(config.train.memory_format, device, task.ndim))


def _finished(folder: RunFolder, stage: Stage) -> bool:
    result = folder.state().get("results", {}).get(stage.name)
    return result is not None and folder.weights(stage.name).is_file()


def _explained(error: RuntimeError | ValueError, device: torch.device) -> Exception:
    text = str(error)
    if _ONE_VALUE in text:
        return PaucisError(
            "batch normalization is left with a single value: a pass of one image, of which the network's deepest map "
            "keeps one voxel: raise train.batch_size and train.unlabeled_batch_size (a method that halves its batches, "
            "such as bcp, needs 4), enlarge data.patch or data.size, or take network.normalization=group where the "
            "network has it"
        )
    if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return PaucisError(
            f"memory ran out on {device}: lower train.batch_size, or data.patch, or choose a smaller network"
        )
    if "exited unexpectedly" in text or "is killed by signal" in text:
        cause = str(error.__cause__ or text).splitlines()[0]
        return PaucisError(f"a loader process died ({cause}): most often memory ran out; lower train.workers (0: none)")
    return error


def _quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
