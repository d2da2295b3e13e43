"""What happens around the steps: progress, figures, validation, checkpoints, and a clean stop on Ctrl-C."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from paucis.engine import checkpoint
from paucis.engine.config import Config
from paucis.engine.devices import Precision
from paucis.engine.files import save_tensors
from paucis.engine.loop import Loop
from paucis.engine.records import CsvRecord
from paucis.engine.validate import validate

log = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]
"""Told after every step what a progress bar shows: stage, step, total, loss, dice, rate (steps/s), left (s)."""


class Interrupted(BaseException):
    """Ctrl-C arrived; the step at hand was finished and saved."""


class Follow(Callback):
    """Saves, validates, records and reports; the writing is done by the first process alone.

    Args:
        folder: of the stage.
        config: of the run.
        cases: cached validation cases; may be empty.
        classes: class names.
        precision: arithmetic of validation.
        training: record of training figures.
        validation: record of validation figures.
        report: told after every step, or None.
        resumed: content of the checkpoint that the stage goes on from, or None.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        cases: Sequence[Any],
        classes: Sequence[str],
        precision: Precision,
        training: CsvRecord,
        validation: CsvRecord,
        report: Report | None,
        resumed: dict[str, Any] | None,
    ) -> None:
        self.folder, self.config, self.cases, self.classes = folder, config, cases, classes
        self.precision, self.training, self.validation = precision, training, validation
        self.report, self.resumed = report, resumed
        self.best: dict[str, Any] = dict(resumed["best"]) if resumed else {}
        self.dice: float | None = None
        self.marks: list[float] = []
        self.spent = [0.0, 0.0, 0]  # seconds in steps, of them waiting for data, steps
        self.stop = False
        self.said = False  # whether the method's remark was

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Loop)
        if self.resumed is not None:
            checkpoint.restore_scaler(pl_module, self.resumed)
        self.clock = self._began = pl_module.left = time.perf_counter()
        self._first = pl_module.start
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._asked_to_stop)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._release()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Loop)
        done, last = pl_module.done, pl_module.done == pl_module.total
        now = time.perf_counter()
        self.spent = [self.spent[0] + now - self.clock, self.spent[1] + pl_module.waited, self.spent[2] + 1]
        if done % self.config.train.log_every == 0 or last:
            self._record(trainer, pl_module)
        if self.cases and (done % self._validate_every(pl_module.total) == 0 or last):
            self._validate(trainer, pl_module)
        if done % self.config.checkpoint.every == 0 or last or self.stop:
            self.save(trainer, pl_module)
        if self.report is not None and trainer.is_global_zero:
            self.report(self._progress(pl_module))
        self.clock = pl_module.left = time.perf_counter()
        if self.stop and not last:
            raise Interrupted

    def save(self, trainer: Trainer, loop: Loop) -> None:
        """Writes the checkpoint and the weights of the step just done."""
        if trainer.is_global_zero:
            checkpoint.save(self.folder / "checkpoint.pt", loop, self.best)
            save_method(self.folder / "last.safetensors", loop)

    def _record(self, trainer: Trainer, loop: Loop) -> None:
        figures = {name: _number(value) for name, value in loop.latest.items()}
        seconds, waited, steps = self.spent
        self.spent = [0.0, 0.0, 0]
        figures |= {"seconds_per_step": seconds / steps, "waiting_share": waited / max(seconds, 1e-9)}
        if trainer.is_global_zero:
            self.training.add(loop.stage, loop.done, figures)
            self._events(trainer, loop, "training", figures)
            self._remark(loop)

    def _remark(self, loop: Loop) -> None:
        """Says what the method remarks, once until it is no longer so."""
        remark = loop.method.remark
        if remark is not None and not self.said:
            log.warning("%s, step %d: %s", loop.stage, loop.done, remark)
        self.said = remark is not None

    def _validate(self, trainer: Trainer, loop: Loop) -> None:
        def reduce(sums: Tensor) -> Tensor:
            return trainer.strategy.reduce(sums, reduce_op="sum") if trainer.world_size > 1 else sums  # type: ignore[return-value]

        dice = validate(
            loop.method,
            loop.method.task,
            self.cases,
            self.config.validation,
            loop.device,
            self.precision,
            reduce,
            trainer.global_rank,
            trainer.world_size,
        )
        known = [value for value in dice if not math.isnan(value)]
        self.dice = sum(known) / len(known) if known else 0.0
        better = not self.best or self.dice > self.best["dice"]
        if better:
            self.best = {"dice": self.dice, "step": loop.done}
        if trainer.is_global_zero:
            figures = {"dice": self.dice} | {
                f"dice_{name}": value for name, value in zip(self.classes[1:], dice, strict=True)
            }
            self.validation.add(loop.stage, loop.done, figures)
            self._events(trainer, loop, "validation", figures)
            if better:
                save_method(self.folder / "best.safetensors", loop)

    def _events(self, trainer: Trainer, loop: Loop, kind: str, figures: dict[str, float]) -> None:
        if trainer.logger is not None:
            named = {f"{loop.stage}/{kind}/{name}": value for name, value in figures.items()}
            trainer.logger.log_metrics(named, step=loop.done)

    def _progress(self, loop: Loop) -> dict[str, Any]:
        elapsed = time.perf_counter() - self._began
        speed = (loop.done - self._first) / max(elapsed, 1e-9)
        return {
            "stage": loop.stage,
            "step": loop.done,
            "total": loop.total,
            "loss": _number(loop.latest["loss"]) if "loss" in loop.latest else None,
            "dice": self.dice,
            "speed": speed,
            "left": (loop.total - loop.done) / max(speed, 1e-9),
        }

    def _validate_every(self, total: int) -> int:
        return self.config.validation.every or max(1, math.ceil(total / 5))

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True

    def _release(self) -> None:
        if hasattr(self, "_old"):
            signal.signal(signal.SIGINT, self._old)
            del self._old


def save_method(path: Path, loop: Loop) -> None:
    """Writes the method's weights and memory for use, and the reported network's weights for others to start from."""
    save_tensors(path, loop.method.state_dict())
    save_tensors(path.with_suffix(".network.safetensors"), loop.method.networks()[0].state_dict())


def _number(value: Tensor | float) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)
