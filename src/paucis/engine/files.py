"""Writing so that nothing half-written ever looks finished."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from paucis.errors import PaucisError


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Lets ``save`` write to a temporary name beside ``path``, then renames it in one step.

    Raises:
        PaucisError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save says RuntimeError when the disk is full
        if isinstance(error, RuntimeError) and "write" not in str(error):
            raise
        raise PaucisError(f"{path}: cannot be written ({error}): free space or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes readable JSON."""
    write(path, lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n"))


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        PaucisError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise PaucisError(f"{path}: is missing") from None
    except (ValueError, OSError) as error:
        raise PaucisError(f"{path}: cannot be read ({error})") from error


def save_tensors(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Writes tensors as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write(path, lambda temporary: save_file(tensors, temporary))


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
        raise PaucisError(f"{path}: is not a readable weights file ({error})") from error
