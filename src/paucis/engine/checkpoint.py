"""Saving a stage in the middle of training, and taking it up again with the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from paucis.engine.files import write
from paucis.engine.loop import Loop
from paucis.errors import PaucisError


def save(path: Path, loop: Loop, best: dict[str, Any]) -> None:
    """Writes everything that the rest of the stage depends on; what is drawn depends on the step alone."""
    loop.check_finite()
    content = {
        "stage": loop.stage,
        "step": loop.done,
        "method": loop.method.state_dict(),
        "plugins": loop.plugins.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in loop.made],
        "scaler": _scaler_state(loop),
        "best": best,
    }
    write(path, lambda temporary: _save(content, temporary))


def _save(content: dict[str, Any], path: Path) -> None:
    with path.open("wb") as stream:  # given a name instead, torch.save hides a full disk behind an error of its own
        torch.save(content, stream)


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; nothing in it is executed.

    Raises:
        PaucisError: the file is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and OS errors alike mean the same to the user
        raise PaucisError(
            f"{path}: is not a readable checkpoint ({type(error).__name__}); delete it to start the stage anew"
        ) from error
    return content


def restore(loop: Loop, content: dict[str, Any]) -> None:
    """Brings a freshly built stage to where the checkpoint was written.

    Raises:
        PaucisError: the checkpoint is of another method or network.
    """
    try:
        loop.method.load_state_dict(content["method"])
        loop.plugins.load_state_dict(content["plugins"])
        for optimizer, state in zip(loop.made, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise PaucisError(f"the checkpoint does not fit the run's method and network: {error}") from error
    loop.done = content["step"]


def restore_scaler(loop: Loop, content: dict[str, Any]) -> None:
    """Brings the loss scale of 16-bit training back; the trainer must have started."""
    if content["scaler"]:
        loop.trainer.precision_plugin.load_state_dict(content["scaler"])


def _scaler_state(loop: Loop) -> dict[str, Any]:
    return dict(loop.trainer.precision_plugin.state_dict()) if loop._trainer is not None else {}
