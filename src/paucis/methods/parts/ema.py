"""The mean teacher: a network whose weights are a moving average of another's. One for all methods."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

Buffers = Literal["copy", "average", "own"]


class EmaTeacher(nn.Module):
    """An exponential moving average of a student network.

    After each step ``teacher = a * teacher + (1 - a) * student`` with ``a = min(1 - 1/(step + 1), decay)`` where
    ``warmup`` holds (the teacher is an exact copy after step 0), else ``a = decay``.

    The teacher takes no gradient and calls pass through to it under ``no_grad``. Until the first update it *is* the
    student: it takes over whatever pretrained weights or inserted blocks the student was given after construction.
    Its weights and the number of its updates are saved with the method.

    Args:
        student: the network to follow. It is not registered here: it stays its owner's.
        decay: largest a.
        warmup: short memory in the first steps.
        buffers: normalization buffers of the teacher. ``copy``: the student's, after each update; ``average``:
            averaged like the weights (whole numbers, such as the count of batches, are copied); ``own``: left to the
            teacher's own forward passes, which must then run in train mode or the buffers never move.
        mode: ``train``: follows the mode of the method, so that dropout and batch statistics act during training, as
            in the published code; ``eval``: always in eval mode.

    Reference:
        A. Tarvainen, H. Valpola: Mean teachers are better role models. NeurIPS 2017.

    Raises:
        ValueError: ``buffers='own'`` with ``mode='eval'``.
    """

    updates: Tensor

    def __init__(
        self,
        student: nn.Module,
        decay: float = 0.99,
        warmup: bool = True,
        buffers: Buffers = "copy",
        mode: Literal["train", "eval"] = "train",
    ) -> None:
        super().__init__()
        if buffers == "own" and mode == "eval":
            raise ValueError("a teacher in eval mode with buffers of its own would never move them")
        self.decay, self.warmup, self.buffering, self.mode = decay, warmup, buffers, mode
        self._source = (student,)  # in a tuple: followed, but no submodule
        self.network = _frozen(student)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self._begun = False  # what ``updates > 0`` says, without asking the device
        self.train()

    def train(self, mode: bool = True) -> EmaTeacher:
        """Sets the mode; a teacher of ``mode='eval'`` stays in eval mode."""
        super().train(mode and self.mode == "train")
        return self

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the teacher network gives, without gradient."""
        self._begin()
        return self.network(*inputs, **options)

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Moves the teacher towards ``student``; called once after the student's optimizer has moved.

        Args:
            student: a network of the same structure, most often the one followed.
            step: 0 for the first update.
        """
        self._begin()
        keep = min(1.0 - 1.0 / (step + 1), self.decay) if self.warmup else self.decay
        _move(list(self.network.parameters()), [theirs.detach() for theirs in student.parameters()], keep)
        if self.buffering != "own":
            self._move_buffers(student, keep if self.buffering == "average" else 0.0)
        self.updates.add_(1)
        self._begun = True

    def _move_buffers(self, student: nn.Module, keep: float) -> None:
        for own, theirs in zip(self.network.buffers(), student.buffers(), strict=True):
            if own.is_floating_point():
                own.lerp_(theirs.to(own), 1.0 - keep)
            else:
                own.copy_(theirs)

    def _begin(self) -> None:
        """Before the first update: the student's weights and structure as they are now."""
        if self._begun:
            return
        if int(self.updates) > 0:
            self._begun = True
            return
        student = self._source[0]
        if self._structure(self.network) == self._structure(student):
            self.network.load_state_dict(student.state_dict())
        else:
            self.network = _frozen(student)
        self.network.train(self.training)

    @staticmethod
    def _structure(network: nn.Module) -> list[str]:
        return [*(name for name, _ in network.named_parameters()), *(name for name, _ in network.named_buffers())]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._begin()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # blocks that a plug-in has put into the student since must be there before their weights come
        if self._structure(self.network) != self._structure(self._source[0]):
            self.network = _frozen(self._source[0])
        self._begun = False
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _frozen(student: nn.Module) -> nn.Module:
    return deepcopy(student).requires_grad_(False)


def _move(own: list[Tensor], theirs: list[Tensor], keep: float) -> None:
    if len(own) != len(theirs):
        raise RuntimeError("teacher and student no longer have the same parameters")
    if keep == 0.0:
        for mine, target in zip(own, theirs, strict=True):
            mine.copy_(target)  # exactly, not up to rounding
    elif own:
        torch._foreach_lerp_(own, theirs, 1.0 - keep)
