"""Options of a plug-in in an nnU-Net trainer: from its class, from the environment, and kept in the plans."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from paucis.errors import PaucisError
from paucis.options import build

KEY = "paucis"
"""Under which plans hold what was carried."""

T = TypeVar("T")


@contextmanager
def nnunet_words() -> Iterator[None]:
    """Errors name the variable ``PAUCIS_PDCR_LAYERS`` where they name the plug-in's option ``plug.pdcr.layers``."""
    try:
        yield
    except PaucisError as error:
        message = re.sub(r"plug\.(\w+)\.(\w+)", lambda key: variable(key[1], key[2]), str(error))
        raise PaucisError(message) from error


def variable(plug: str, option: str) -> str:
    """The environment variable of an option."""
    return f"PAUCIS_{plug}_{option}".upper()


def from_environment(plug: str, default: T) -> T:
    """Options with what the environment sets in place of ``default``'s values.

    Args:
        plug: name of the plug-in.
        default: an instance of its options, those of the trainer's class.

    Raises:
        PaucisError: a variable that no option has, or a value that does not fit.
    """
    start = variable(plug, "")
    given = {name.removeprefix(start).lower(): value for name, value in os.environ.items() if name.startswith(start)}
    values = {field.name: getattr(default, field.name) for field in fields(default)}  # type: ignore[arg-type]
    with nnunet_words():
        return build(type(default), {**values, **given}, f"plug.{plug}.")


def as_record(options: Any, **further: Any) -> dict[str, Any]:
    """Options as they stand in a JSON file."""
    record: dict[str, Any] = json.loads(json.dumps({**asdict(options), **further}))
    return record


def refuse_other_options(folder: Path, record: dict[str, Any]) -> None:
    """Folds of one results folder share its ``plans.json``, and with it the network: they must share the options.

    Args:
        folder: where nnU-Net keeps the folds of this trainer, plans and configuration.
        record: what is to be carried.

    Raises:
        PaucisError: the folder was trained with other options.
    """
    plans = folder / "plans.json"
    if not plans.is_file():
        return
    kept = json.loads(plans.read_text("utf-8")).get(KEY, {})
    for plug, options in record.items():
        for name, value in options.items():
            there = kept.get(plug, {}).get(name)
            if there != value:
                raise PaucisError(
                    f"{folder} was trained with {variable(plug, name)}={_text(there)}, and this run has "
                    f"{_text(value)}: set the variable as it was, or remove the folder to begin anew, or give the "
                    "other options a trainer of another name"
                )


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
