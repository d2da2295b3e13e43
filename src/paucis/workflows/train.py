"""From a folder of scans and a few labels to a trained run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis.data.plan import Plan
from paucis.engine import devices
from paucis.engine.callbacks import Interrupted
from paucis.engine.config import Config
from paucis.engine.fit import Material, fit
from paucis.engine.runs import RunFolder, stage_number
from paucis.errors import PaucisError
from paucis.methods.base import METHODS, Method
from paucis.workflows.hooks import Hooks
from paucis.workflows.preparing import join, prepare
from paucis.workflows.request import fresh, resumed

TRAIN, PRETRAIN, DISCOVER = "train", "pretrain", "discover"


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        folder: the run folder.
        finished: False when it was stopped; ``--resume`` goes on.
        results: per stage, the best validation Dice and its step.
    """

    folder: Path
    finished: bool
    results: dict[str, Any]


def train(
    dataset: str | Path | None = None,
    *,
    out: str | Path,
    method: str | None = None,
    network: str | None = None,
    labels: str | int | None = None,
    plugs: tuple[str, ...] = (),
    init: str | Path | None = None,
    recipe: str | None = None,
    resume: bool = False,
    stage: str | None = None,
    from_stage: str | None = None,
    options: Mapping[str, Any] | None = None,
    hooks: Hooks | None = None,
) -> Trained:
    """Trains a method on a dataset.

    Args:
        dataset: folder of the dataset; may be left out with ``resume``.
        out: the run folder; must not hold a run unless ``resume``.
        method: registry name; ``supervised`` when neither this nor a recipe says otherwise.
        network: registry name.
        labels: how many cases (or groups) count as labeled: a count, ``"10%"``, or a list file; None for all.
        plugs: plug-ins to carry.
        init: run folder or weights file to start the network from.
        recipe: name or file of a recipe.
        resume: go on with the run in ``out``.
        stage: of a method with several stages, the one to train; those before it must be finished.
        from_stage: of the run in ``out``, the stage from which all is trained anew.
        options: dotted key to value, such as ``{"train.steps": 300}``.
        hooks: how to follow along.

    Raises:
        PaucisError: anything the user can mend, in one line.
    """
    asked = {
        "method": method,
        "network": network,
        "labels": labels,
        "init": None if init is None else str(Path(init).absolute()),
        **(options or {}),
    }
    values = {name: value for name, value in asked.items() if value is not None}
    return run(
        dataset,
        out=out,
        values=values,
        plugs=plugs,
        recipe=recipe,
        resume=resume,
        stage=stage,
        from_stage=from_stage,
        hooks=hooks or Hooks(),
    )


def run(
    dataset: str | Path | None,
    *,
    out: str | Path,
    values: dict[str, Any],
    plugs: tuple[str, ...] = (),
    recipe: str | None = None,
    resume: bool = False,
    stage: str | None = None,
    from_stage: str | None = None,
    hooks: Hooks,
    command: str = TRAIN,
    also: Sequence[str | Path] = (),
) -> Trained:
    """What ``train``, ``pretrain`` and ``discover`` share: from a request to a run.

    Args:
        dataset: folder of the dataset, or None with ``resume``.
        out: the run folder.
        values: what is asked for, by dotted key; a recipe stands behind it.
        plugs: plug-ins to carry.
        recipe: name or file of a recipe.
        resume: go on with the run in ``out``.
        stage: the one stage to train.
        from_stage: the stage from which all is trained anew.
        hooks: how to follow along.
        command: which of these is asked, and so which methods may be.
        also: further datasets, of a pretraining.

    Raises:
        PaucisError: anything the user can mend, in one line.
    """
    folder = RunFolder(out)
    if from_stage is not None and not folder.config_file.is_file():
        raise PaucisError(f"{folder.path}: holds no run to go on with from a stage: leave --from-stage out")
    if (resume or from_stage is not None) and folder.config_file.is_file():
        config = resumed(folder, dataset, values, plugs, recipe, also)
    else:
        config = fresh(folder, dataset, values, plugs, recipe, resume, also)
    _refuse_kind(config, command)
    for name, key in ((stage, "--stage"), (from_stage, "--from-stage")):
        if name is not None:
            stage_number(config, name, key)
    devices.resolve(config.device)
    first = devices.rank() == 0
    if first:
        material, plan = prepare(folder, config, hooks)
        folder.state(prepared=True)
    else:
        material, plan = join(folder, config)
    try:
        _fit(folder, config, plan, material, hooks, stage, from_stage)
        finished = True
    except Interrupted:
        finished = False
    except PaucisError:
        if first and not resume:
            folder.discard_unbegun()
        raise
    return Trained(folder.path, finished, folder.state().get("results", {}))


def _refuse_kind(config: Config, command: str) -> None:
    """Methods that need no label have commands of their own; what only pretrains leaves nothing to predict with."""
    name, kind = config.method, METHODS.get(config.method)
    needed = command_of(kind)
    if needed == command:
        if command == DISCOVER and config.data.shapes is None:
            raise PaucisError("which shapes? give a folder of reference masks: paucis discover IMAGES --shapes MASKS")
        return
    if command != TRAIN:
        known = ", ".join(known for known, other in METHODS if command_of(other) == command)
        what = {PRETRAIN: f"is no pretraining ({known})", DISCOVER: f"does not learn from shapes alone ({known})"}
        raise PaucisError(f"method '{name}' {what[command]}: paucis {needed} trains it")
    if needed == PRETRAIN:
        raise PaucisError(
            f"method '{name}' is a pretraining: paucis pretrain IMAGES --method {name} --out RUN, then "
            "paucis train DATASET --init RUN"
        )
    raise PaucisError(f"method '{name}' takes no label: paucis discover IMAGES --shapes MASKS --out RUN")


def command_of(method: type[Method]) -> str:
    """The command that trains a method: ``train``, ``pretrain`` or ``discover``."""
    return PRETRAIN if method.pretrains else DISCOVER if method.uses_references else TRAIN


def _fit(
    folder: RunFolder,
    config: Config,
    plan: Plan,
    material: Material,
    hooks: Hooks,
    only: str | None,
    anew: str | None,
) -> None:
    batch_size = config.train.batch_size or plan.batch_size
    fit(folder, config, plan.task(), plan.classes, material, batch_size, hooks.report, only=only, anew=anew)
