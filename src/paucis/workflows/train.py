"""From a folder of scans and a few labels to a trained run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paucis.batch import Task
from paucis.data.cache import Cache
from paucis.data.case import Dataset
from paucis.data.checks import check
from paucis.data.facts import gather
from paucis.data.field import with_fields
from paucis.data.groups import regroup
from paucis.data.layouts import ignored, recognize
from paucis.data.layouts.classes import with_classes
from paucis.data.options import cache_home, prepare_workers
from paucis.data.plan import BUDGET, Plan, make_plan
from paucis.data.problems import Problem, refuse
from paucis.data.segment_codes import codes_of
from paucis.data.shapes import ShapePrior, read_shapes
from paucis.data.split import Roles, Split, apply_split, make_split
from paucis.data.union import joined, joined_split
from paucis.engine import devices
from paucis.engine.callbacks import Interrupted
from paucis.engine.config import Config, resolve
from paucis.engine.files import write_json
from paucis.engine.fit import Material, fit
from paucis.engine.runs import RunFolder, method_options, stage_number
from paucis.errors import PaucisError
from paucis.methods.base import METHODS, Method, Setting
from paucis.networks import make
from paucis.workflows.recipes import Recipe, find

Tell = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


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


@dataclass(frozen=True)
class Hooks:
    """How a caller follows a training; all may stay None."""

    tell: Tell | None = None
    progress: Progress | None = None
    report: Callable[[dict[str, Any]], None] | None = None


TRAIN, PRETRAIN, DISCOVER = "train", "pretrain", "discover"
CPU_BUDGET = 64**3
TOLD = 3  # warnings about the data; the rest is counted
LISTED = "`paucis check DATASET` lists all"

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
        config = _resumed(folder, dataset, values, plugs, recipe, also)
    else:
        config = _fresh(folder, dataset, values, plugs, recipe, resume, also)
    _refuse_kind(config, command)
    for name, key in ((stage, "--stage"), (from_stage, "--from-stage")):
        if name is not None:
            stage_number(config, name, key)
    devices.resolve(config.device)
    first = devices.rank() == 0
    if first:
        material, plan = _prepare(folder, config, hooks)
        folder.state(prepared=True)
    else:
        material, plan = _join(folder, config)
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


def _fresh(
    folder: RunFolder,
    dataset: str | Path | None,
    values: dict[str, Any],
    plugs: tuple[str, ...],
    recipe: str | None,
    resume: bool,
    also: Sequence[str | Path],
) -> Config:
    source: Recipe | None = find(recipe) if recipe else None
    if dataset is None and resume:
        raise PaucisError(f"{folder.path}: holds no run to go on with: check --out, or name a dataset to start one")
    if dataset is None:
        raise PaucisError("which dataset? give the folder of scans: paucis train DATASET --out RUN")
    if devices.rank() == 0 and folder.path.exists() and any(folder.path.iterdir() if folder.path.is_dir() else [1]):
        if folder.config_file.is_file():
            raise PaucisError(f"{folder.path}: holds a run already: go on with --resume, or choose another --out")
        raise PaucisError(f"{folder.path}: is not empty and not a run: choose another --out")
    if source is not None:
        plugs = plugs or source.plugs
        values = {**source.values, **values}
    config = resolve(Path(dataset).absolute(), values, plugs, recipe, _absolute(also))
    files = {key: value for key, value in _files(config).items() if value.lower() not in ("none", "null")}
    whole = {key: str(Path(value).expanduser().absolute()) for key, value in files.items()}
    # a run may go on from another folder
    return resolve(config.dataset, {**values, **whole}, plugs, recipe, config.also)


def _absolute(places: Sequence[str | Path]) -> tuple[str, ...]:
    return tuple(str(Path(place).absolute()) for place in places)


def _files(config: Config) -> dict[str, str]:
    """What the user gave for ``--init`` and for options of the method that name files, by key."""
    fields = dataclasses.fields(METHODS.get(config.method).Options)
    keys = ["init", *(f"method.{field.name}" for field in fields if field.metadata.get("file"))]
    return {key: str(config.given[key]) for key in keys if config.given.get(key) is not None}


def _resumed(
    folder: RunFolder,
    dataset: str | Path | None,
    values: dict[str, Any],
    plugs: tuple[str, ...],
    recipe: str | None,
    also: Sequence[str | Path],
) -> Config:
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


def _differs(old: Config, new: Config, key: str) -> bool:
    head, _, rest = key.partition(".")
    before, after = old.as_dict(), new.as_dict()
    if not rest:
        return bool(before[head] != after[head])
    holder = f"{head}_options" if head in ("method", "network") else head
    return str(before.get(holder)) != str(after.get(holder))


def _prepare(folder: RunFolder, config: Config, hooks: Hooks) -> tuple[Material, Plan]:
    """Everything before the first step, by the first process alone: roles, checks, plan, cache, the run's files."""
    started = time.perf_counter()
    dataset = _dataset(config)
    split = folder.split() if folder.split_file.is_file() else _split(dataset, config)
    roles, method = _roles(dataset, split, config), METHODS.get(config.method)
    used = [*roles.labeled, *roles.val] + ([*roles.unlabeled] if method.uses_unlabeled else [])
    store, workers = cache_home(config.data), prepare_workers(config.data)
    facts, problems = gather(used, store, workers, _progress(hooks, "reading scans"), ignored(dataset))
    problems = [*problems, *check(dataclasses.replace(dataset, cases=tuple(used)), facts)]
    _refuse(problems, hooks)
    dataset = with_classes(dataset, facts.values()) if method.uses_labeled else _without_classes(dataset)
    if folder.plan_file.is_file():
        plan = folder.plan()
    else:
        training = dataclasses.replace(dataset, cases=(*roles.labeled, *roles.unlabeled))
        plan = fitted(make_plan(training, facts, config.data, _budget(config)), config)
    task = plan.task()
    _check_setting(config, task, plan, roles)
    shapes = _shapes(config, task)
    if shapes is not None:
        plan = dataclasses.replace(plan, classes=("background", "shape"), values=(0, shapes.value))
    cache = Cache(store, plan)
    if hooks.tell:
        hooks.tell(_summary(config, plan, roles, split, cache.estimate([facts[case.name] for case in used])))
    cache.ensure(used, facts, workers, _progress(hooks, "preparing scans"))
    folder.path.mkdir(parents=True, exist_ok=True)
    plan.save(folder.plan_file)
    split.save(folder.split_file)
    folder.write_environment()
    if codes := codes_of(dataclasses.replace(dataset, cases=tuple(roles.labeled))):
        write_json(folder.segments_file, codes)
    write_json(folder.config_file, config.as_dict())
    folder.state(preparation_seconds=round(time.perf_counter() - started, 1))
    return _material(cache, roles, facts, method.uses_unlabeled, shapes), plan


def _dataset(config: Config) -> Dataset:
    """What the run is about: one dataset, or several of a pretraining as one."""
    return joined(_parts(config))


def _parts(config: Config) -> list[Dataset]:
    places = (config.dataset, *config.also)
    found = [regroup(recognize(Path(place), config.data.series), config.data.group) for place in places]
    return [with_fields(part, config.data.field) for part in found]


def _join(folder: RunFolder, config: Config) -> tuple[Material, Plan]:
    """A further process waits until the first has prepared, then reads what it wrote."""
    while not (folder.config_file.is_file() and folder.state().get("prepared")):
        time.sleep(0.2)
    dataset = _dataset(config)
    roles, plan = _roles(dataset, folder.split(), config), folder.plan()
    uses_unlabeled = METHODS.get(config.method).uses_unlabeled
    used = [*roles.labeled, *roles.val] + ([*roles.unlabeled] if uses_unlabeled else [])
    store = cache_home(config.data)
    facts, _ = gather(used, store, ignore=ignored(dataset))
    return _material(Cache(store, plan), roles, facts, uses_unlabeled, _shapes(config, plan.task())), plan


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


def _shapes(config: Config, task: Task) -> ShapePrior | None:
    """The reference masks, for a method that learns from them."""
    if not METHODS.get(config.method).uses_references:
        return None
    assert config.data.shapes is not None
    return read_shapes(config.data.shapes, task, config.data)


def _split(dataset: Dataset, config: Config) -> Split:
    """Who is what. A method that needs no label sees the images of every training case and the label of none."""
    if METHODS.get(config.method).uses_labeled:
        return make_split(dataset, config.data, config.labels, config.seed)
    every = dataclasses.replace(config.data, unlabeled=None)
    parts = _parts(config) if config.also else [dataset]  # each is held out as training on it alone holds it out
    split = joined_split(parts, [make_split(part, every, seed=config.seed, need_labels=False) for part in parts])
    train = set(split.train)
    names = [case.name for case in dataset.cases if case.name in train]
    return Split((), tuple(names[: config.data.unlabeled]), split.val, split.test)


def _roles(dataset: Dataset, split: Split, config: Config) -> Roles:
    """The cases of each role; validation cases have no part in a training without labels."""
    roles = apply_split(dataset, split)
    return roles if METHODS.get(config.method).uses_labeled else roles._replace(val=())


def _without_classes(dataset: Dataset) -> Dataset:
    """The dataset as it is planned without labels: any two classes, of which none is ever seen."""
    return dataclasses.replace(dataset, classes=("background", "foreground"), values=(0, 1))


def _material(
    cache: Cache, roles: Roles, facts: Mapping[str, Any], uses_unlabeled: bool, shapes: ShapePrior | None
) -> Material:
    def opened(cases: Any) -> list[Any]:
        return [cache.open(case, facts[case.name]) for case in cases]

    return Material(opened(roles.labeled), opened(roles.unlabeled) if uses_unlabeled else [], opened(roles.val), shapes)


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


def _budget(config: Config) -> int:
    """Voxels of a batch that the device takes in a reasonable time."""
    return BUDGET if devices.resolve(config.device).type == "cuda" else CPU_BUDGET


def fitted(plan: Plan, config: Config) -> Plan:
    """The plan with its patch rounded up to what the configured network can take."""
    task = plan.task()
    with torch.device("meta"):
        multiple = make(config.network, task, config.network_options, initial=False).multiple
    patch = tuple(-(-size // step) * step for size, step in zip(task.patch, multiple, strict=True))
    return dataclasses.replace(plan, patch=patch)


def _check_setting(config: Config, task: Task, plan: Plan, roles: Roles) -> None:
    batch = config.train.batch_size or plan.batch_size
    setting = Setting(
        task=task,
        labeled=len(roles.labeled),
        unlabeled=len(roles.unlabeled),
        batch_size=batch,
        unlabeled_batch_size=config.train.unlabeled_batch_size or batch,
        network=config.network,
        cases=tuple(case.name for case in roles.unlabeled),
    )
    problems = METHODS.get(config.method).check(setting, method_options(config))
    if problems:
        raise PaucisError("; ".join(problems))


def _refuse(problems: list[Problem], hooks: Hooks) -> None:
    refuse(problems, LISTED)
    if hooks.tell:
        for problem in problems[:TOLD]:
            hooks.tell(f"warning: {problem.file}: {problem.message}")
        if len(problems) > TOLD:
            hooks.tell(f"warning: and {len(problems) - TOLD} more: {LISTED}")


def _progress(hooks: Hooks, what: str) -> Callable[[int, int], None] | None:
    if hooks.progress is None:
        return None
    progress = hooks.progress
    return lambda done, total: progress(what, done, total)


def _summary(config: Config, plan: Plan, roles: Roles, split: Split, size: int) -> str:
    parts = [
        f"{len(roles.labeled)} labeled, {len(roles.unlabeled)} unlabeled, {len(roles.val)} validation, "
        f"{len(roles.test)} test cases",
        f"{plan.ndim}D, patch {'x'.join(map(str, plan.patch))}, batch {config.train.batch_size or plan.batch_size}",
        f"cache {size / 2**20:.0f} MiB",
    ]
    if not roles.val and METHODS.get(config.method).uses_labeled:
        parts.append("no case is left for validation: the last weights count as the best")
    return "; ".join(parts)
