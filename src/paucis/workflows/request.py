"""From what is asked for to a resolved configuration: of a new run, or of one that goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paucis.engine import devices
from paucis.engine.config import Config, resolve
from paucis.engine.runs import RunFolder
from paucis.errors import PaucisError
from paucis.methods.base import METHODS
from paucis.workflows.recipes import Recipe, find

CHANGEABLE = (
    "train.steps",
    "train.workers",
    "train.devices",
    "train.log_every",
    "checkpoint.every",
    "validation.every",
    "device",
)
"""What may be changed when a run goes on: more steps stretch its schedules from there."""


def fresh(
    folder: RunFolder,
    dataset: str | Path | None,
    values: dict[str, Any],
    plugs: tuple[str, ...],
    recipe: str | None,
    resume: bool,
    also: Sequence[str | Path],
) -> Config:
    """Of a run that begins in an empty folder."""
    if dataset is None and resume:
        raise PaucisError(f"{folder.path}: holds no run to go on with: check --out, or name a dataset to start one")
    if dataset is None:
        raise PaucisError("which dataset? give the folder of scans: paucis train DATASET --out RUN")
    if devices.rank() == 0 and folder.path.exists() and any(folder.path.iterdir() if folder.path.is_dir() else [1]):
        if folder.config_file.is_file():
            raise PaucisError(f"{folder.path}: holds a run already: go on with --resume, or choose another --out")
        raise PaucisError(f"{folder.path}: is not empty and not a run: choose another --out")
    return asked(dataset, values, plugs, recipe, also)


def asked(
    dataset: str | Path,
    values: dict[str, Any],
    plugs: tuple[str, ...] = (),
    recipe: str | None = None,
    also: Sequence[str | Path] = (),
) -> Config:
    """Of a run on a dataset: the recipe, and over it what was asked for."""
    source: Recipe | None = find(recipe) if recipe else None
    if source is not None:
        plugs = plugs or source.plugs
        values = {**source.values, **values}
    config = resolve(Path(dataset).absolute(), values, plugs, recipe, _absolute(also))
    files = {key: value for key, value in _files(config).items() if value.lower() not in ("none", "null")}
    whole = {key: str(Path(value).expanduser().absolute()) for key, value in files.items()}
    # a run may go on from another folder
    return resolve(config.dataset, {**values, **whole}, plugs, recipe, config.also)


def resumed(
    folder: RunFolder,
    dataset: str | Path | None,
    values: dict[str, Any],
    plugs: tuple[str, ...],
    recipe: str | None,
    also: Sequence[str | Path],
) -> Config:
    """Of a run that goes on; what may not change meanwhile is refused."""
    folder.require()
    if not folder.split_file.is_file():
        raise PaucisError(f"{folder.split_file}: is missing: restore it, or start a new run")
    config = folder.config()
    source = config.dataset if dataset is None else str(Path(dataset).absolute())
    further = config.also if dataset is None else _absolute(also)
    if len(further) != len(config.also):
        raise PaucisError(
            f"{folder.path}: was begun on {1 + len(config.also)} folders: name as many, or none, with --resume"
        )
    asked = {**(find(recipe).values if recipe else {}), **values}
    changed = resolve(source, {**config.given, **asked}, plugs or tuple(config.plugs), config.recipe, further)
    for key, value in asked.items():
        if key not in CHANGEABLE and str(config.given.get(key)) != str(value) and _differs(config, changed, key):
            raise PaucisError(
                f"{folder.path}: '{key}' cannot change when a run goes on (only {', '.join(CHANGEABLE)} can): "
                "start a new run with another --out"
            )
    return changed


def _absolute(places: Sequence[str | Path]) -> tuple[str, ...]:
    return tuple(str(Path(place).absolute()) for place in places)


def _files(config: Config) -> dict[str, str]:
    """What the user gave for ``--init`` and for options of the method that name files, by key."""
    fields = dataclasses.fields(METHODS.get(config.method).Options)
    keys = ["init", *(f"method.{field.name}" for field in fields if field.metadata.get("file"))]
    return {key: str(config.given[key]) for key in keys if config.given.get(key) is not None}


def _differs(old: Config, new: Config, key: str) -> bool:
    head, _, rest = key.partition(".")
    before, after = old.as_dict(), new.as_dict()
    if not rest:
        return bool(before[head] != after[head])
    holder = f"{head}_options" if head in ("method", "network") else head
    return str(before.get(holder)) != str(after.get(holder))
