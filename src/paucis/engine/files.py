"""Files of a run: JSON and tensors, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from paucis.errors import PaucisError
from paucis.files import write, write_json

__all__ = ["load_tensors", "read_json", "save_tensors", "write", "write_json"]


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        PaucisError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise PaucisError(f"{path}: is missing: restore it, or start a new run") from None
    except (ValueError, OSError) as error:
        raise PaucisError(f"{path}: cannot be read ({error}): restore it, or start a new run") from error


def save_tensors(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Writes tensors as safetensors, by way of memory: the library's own writer hides a full disk behind its own error.

    Raises:
        PaucisError: the disk is full or the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    content = save(tensors)
    write(path, lambda draft: draft.write_bytes(content))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Reads safetensors.

    Raises:
        PaucisError: the file is missing or damaged.
    """
    if not path.is_file():
        raise PaucisError(f"{path}: is missing; the run has no weights yet (train it, or let it go on with --resume)")
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own types
        raise PaucisError(f"{path}: is not a readable weights file ({error}): restore it, or train again") from error
