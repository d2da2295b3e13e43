"""Reading text in one line of error, and writing so that nothing half-written ever looks finished."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from paucis.errors import PaucisError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, save: Callable[[Path], object], remedy: str = "choose another folder") -> None:
    """Lets ``save`` fill a file of another name beside ``path``, then renames it in one step.

    Args:
        path: the file; its folder is made when missing.
        save: writes the path that it is given.
        remedy: what the user can do where that fails, beside making room on a full disk.

    Raises:
        PaucisError: the disk is full, or the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(draft)
        os.replace(draft, path)
    except OSError as error:
        raise unwritable(path, error, remedy) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """The UTF-8 text of a file that a person wrote.

    Raises:
        PaucisError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PaucisError(f"{path} cannot be read ({error.strerror or error}): check the path") from error
    except UnicodeDecodeError as error:
        raise PaucisError(f"{path} cannot be read (not UTF-8 text): save it as UTF-8") from error


def write_text(path: Path, text: str, remedy: str = "choose another folder") -> None:
    """Writes a text as UTF-8; as ``write`` otherwise."""
    write(path, lambda draft: draft.write_text(text, encoding="utf-8"), remedy)


def write_json(path: Path, content: Any) -> None:
    """Writes readable JSON; as ``write`` otherwise."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def is_full(error: BaseException) -> bool:
    """Whether an error says that no room is left: a full disk, a quota, a file too large for its disk."""
    return isinstance(error, OSError) and error.errno in _FULL


def unwritable(path: Path, error: BaseException, remedy: str) -> PaucisError:
    """The one line that tells why ``path`` could not be written, and what to do."""
    if is_full(error):
        return PaucisError(f"{path} cannot be written, the disk is full: free space, or {remedy}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return PaucisError(f"{path} cannot be written ({reason}): {remedy}")
