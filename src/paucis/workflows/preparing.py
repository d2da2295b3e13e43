"""Everything before the first step: who is what, checks, the plan, the cache, and the run's files."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paucis.batch import Task
from paucis.data.cache import Cache
from paucis.data.case import Case, Dataset
from paucis.data.checks import check
from paucis.data.facts import CaseFacts, gather
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
from paucis.engine.config import Config
from paucis.engine.files import write_json
from paucis.engine.fit import Material
from paucis.engine.runs import RunFolder, method_options
from paucis.errors import PaucisError
from paucis.methods.base import METHODS, Setting
from paucis.networks import make
from paucis.workflows.hooks import Hooks

CPU_BUDGET = 64**3
TOLD = 3  # warnings about the data; the rest is counted
LISTED = "`paucis check DATASET` lists all"


@dataclass(frozen=True)
class Planned:
    """A training that is planned; nothing was written.

    Attributes:
        dataset: with its classes.
        split: who is what.
        roles: its cases.
        used: cases that the training reads.
        facts: of them, by name.
        plan: what they are turned into.
        shapes: reference masks, for a method that learns from them.
    """

    dataset: Dataset
    split: Split
    roles: Roles
    used: tuple[Case, ...]
    facts: Mapping[str, CaseFacts]
    plan: Plan
    shapes: ShapePrior | None


def planned(config: Config, hooks: Hooks, split: Split | None = None, plan: Plan | None = None) -> Planned:
    """Roles, checks and plan of a training.

    Args:
        config: of the run.
        hooks: told of progress and warnings.
        split: of a run that goes on; None makes it.
        plan: likewise.

    Raises:
        PaucisError: a dataset with errors, or a method that cannot work with it.
    """
    dataset = _dataset(config)
    split = split or _split(dataset, config)
    roles, method = _roles(dataset, split, config), METHODS.get(config.method)
    used = [*roles.labeled, *roles.val] + ([*roles.unlabeled] if method.uses_unlabeled else [])
    store, workers = cache_home(config.data), prepare_workers(config.data)
    facts, problems = gather(used, store, workers, hooks.counting("reading scans"), ignored(dataset))
    problems = [*problems, *check(dataclasses.replace(dataset, cases=tuple(used)), facts)]
    _refuse(problems, hooks)
    dataset = with_classes(dataset, facts.values()) if method.uses_labeled else _without_classes(dataset)
    if plan is None:
        training = dataclasses.replace(dataset, cases=(*roles.labeled, *roles.unlabeled))
        plan = fitted(make_plan(training, facts, config.data, _budget(config)), config)
    task = plan.task()
    _check_setting(config, task, plan, roles)
    shapes = _shapes(config, task)
    if shapes is not None:
        plan = dataclasses.replace(plan, classes=("background", "shape"), values=(0, shapes.value))
    return Planned(dataset, split, roles, tuple(used), facts, plan, shapes)


def prepare(folder: RunFolder, config: Config, hooks: Hooks) -> tuple[Material, Plan]:
    """Everything before the first step, by the first process alone: roles, checks, plan, cache, the run's files."""
    started = time.perf_counter()
    split = folder.split() if folder.split_file.is_file() else None
    found = planned(config, hooks, split, folder.plan() if folder.plan_file.is_file() else None)
    roles, facts, plan, store = found.roles, found.facts, found.plan, cache_home(config.data)
    cache = Cache(store, plan)
    if hooks.tell:
        size = cache.estimate([facts[case.name] for case in found.used])
        hooks.tell(_summary(config, plan, roles, found.split, size))
    cache.ensure(found.used, facts, prepare_workers(config.data), hooks.counting("preparing scans"))
    folder.path.mkdir(parents=True, exist_ok=True)
    plan.save(folder.plan_file)
    found.split.save(folder.split_file)
    folder.write_environment()
    if codes := codes_of(dataclasses.replace(found.dataset, cases=tuple(roles.labeled))):
        write_json(folder.segments_file, codes)
    write_json(folder.config_file, config.as_dict())
    folder.state(preparation_seconds=round(time.perf_counter() - started, 1))
    return _material(cache, roles, facts, METHODS.get(config.method).uses_unlabeled, found.shapes), plan


def join(folder: RunFolder, config: Config) -> tuple[Material, Plan]:
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


def _dataset(config: Config) -> Dataset:
    """What the run is about: one dataset, or several of a pretraining as one."""
    return joined(_parts(config))


def _parts(config: Config) -> list[Dataset]:
    places = (config.dataset, *config.also)
    found = [regroup(recognize(Path(place), config.data.series), config.data.group) for place in places]
    return [with_fields(part, config.data.field) for part in found]


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


def _summary(config: Config, plan: Plan, roles: Roles, split: Split, size: int) -> str:
    labeled, train = METHODS.get(config.method).uses_labeled, config.train
    batch = train.batch_size or plan.batch_size
    batch = batch if labeled else train.unlabeled_batch_size or batch
    parts = [
        f"{len(roles.labeled)} labeled, {len(roles.unlabeled)} unlabeled, {len(roles.val)} validation, "
        f"{len(roles.test)} test cases",
        f"{plan.ndim}D, patch {'x'.join(map(str, plan.patch))}, batch {batch}",
        f"cache {size / 2**20:.0f} MiB",
    ]
    if not roles.val and labeled:
        parts.append("no case is left for validation: the last weights count as the best")
    return "; ".join(parts)
