"""What the runs of a grid share: cases, facts, splits and plans of the dataset, looked at once before anything runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paucis.data.case import Case, Dataset
from paucis.data.checks import check
from paucis.data.facts import CaseFacts, gather
from paucis.data.groups import group_of, regroup
from paucis.data.layouts import recognize
from paucis.data.layouts.classes import with_classes
from paucis.data.options import cache_home, prepare_workers
from paucis.data.plan import BUDGET, Plan, make_plan
from paucis.data.split import Roles, Split, apply_split, make_split
from paucis.engine import devices
from paucis.engine.config import Config
from paucis.engine.runs import method_options
from paucis.errors import PaucisError
from paucis.methods.base import METHODS, Setting
from paucis.registry import nearest
from paucis.workflows.benchmark.grid import Job
from paucis.workflows.benchmark.suite import Suite
from paucis.workflows.preparing import CPU_BUDGET, fitted

Progress = Callable[[int, int], None]

WITHOUT_EFFECT = {
    "data": ("split", "cache", "workers", "fold"),
    "train": ("workers", "devices", "nodes", "log_every"),
}
"""Options that leave the figures of a run as they are, or act through its split, which counts by itself."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        job: what it is.
        key: digest of its resolved configuration, split, plan and evaluation.
        split: roles of the cases.
        plan: how scans are prepared.
        evaluated: cases whose prediction is measured.
        role: ``val`` or ``test``, where they come from.
        weights: ``best``, or ``last``.
        problems: why its method cannot work in this setting; empty when it can.
        pool: of a suite with rounds, the scans that may be labeled next; they know of no label.
        labeled: of such a suite, the labeled scans.
        added: the scans whose labels were added in earlier rounds, in order.
        waiting: the scans to add are not chosen yet; ``key``, ``split`` and ``plan`` are not its own.
    """

    job: Job
    key: str
    split: Split
    plan: Plan
    evaluated: tuple[Case, ...]
    role: str
    weights: str
    problems: tuple[str, ...]
    pool: tuple[Case, ...] = ()
    labeled: tuple[Case, ...] = ()
    added: tuple[str, ...] = ()
    waiting: bool = False

    @property
    def patients(self) -> int:
        """Patients of the evaluated cases."""
        return len({group_of(case) for case in self.evaluated})


class Ground:
    """The dataset of a grid. What several runs share is worked out once.

    Args:
        suite: the suite.
        root: folder of the dataset.
        progress: told how many scans were looked at.

    Raises:
        PaucisError: there is no such folder; a neighbor of a similar name is suggested.
    """

    def __init__(self, suite: Suite, root: Path, progress: Progress | None = None) -> None:
        if not root.expanduser().exists():
            raise PaucisError(f"{root} does not exist{_neighbor(root)}: name the folder of the dataset")
        self.suite, self.progress = suite, progress
        self.dataset = recognize(root)
        self._regrouped: dict[str | None, Dataset] = {}
        self._facts: dict[tuple[str, bool], CaseFacts] = {}
        self._plans: dict[str, Plan] = {}

    def write_split(self, path: Path, jobs: Iterable[Job]) -> None:
        """Writes the split of the suite's protocol where a run asks for it, or sees that the dataset ships one."""
        protocol = self.suite.split
        if protocol is None:
            return
        if protocol.folds and any(job.config.data.split == str(path) for job in jobs):
            protocol.write(self.dataset, path)
        elif not protocol.folds and any(not job.config.data.split and not job.config.data.folds for job in jobs):
            protocol.demand(self.dataset)

    def prepare(self, job: Job, added: tuple[str, ...] = ()) -> Prepared:
        """Everything about a run before its first step.

        Args:
            job: the run.
            added: unlabeled training cases whose labels it sees too, since a rule chose them.

        Raises:
            PaucisError: a budget that the dataset has not, no case to evaluate, scans that cannot be trained on.
        """
        config = job.config
        try:
            dataset = self._grouped(config.data.group)
            split = make_split(dataset, config.data, config.labels, config.seed).with_labeled(added)
            roles = apply_split(dataset, split)
            evaluated, role = self._evaluated(roles)
            plan = self._plan(config, dataset, split, roles)
        except PaucisError as error:
            raise PaucisError(f"suite '{self.suite.name}', {job}: {error}") from error
        weights = self.suite.evaluation.weights
        if weights == "auto":
            weights = "best" if role == "test" and split.val else "last"
        if weights == "best" and not split.val:
            raise PaucisError(f"suite '{self.suite.name}': weights=best needs validation cases, and {job} has none")
        problems = _check(config, plan, roles)
        shown = [self.suite.evaluation, self.suite.predict, [case.name for case in evaluated], weights]
        pool: tuple[Case, ...] = ()
        if self.suite.rounds is not None:
            rounds, labeled = self.suite.rounds, {case.name for case in dataset.cases if case.label is not None}
            pool = tuple(case for case in roles.unlabeled if case.name in labeled)
            if rules := rounds.asked(job.entry.rule, job.round):
                shown += [rules, rounds.add, rounds.one_per_patient, rounds.predict, [case.name for case in pool]]
        key = _key(job, split, plan, shown)
        mine = tuple(roles.labeled) if self.suite.rounds is not None else ()
        return Prepared(job, key, split, plan, evaluated, role, weights, tuple(problems), pool, mine, added)

    def _grouped(self, pattern: str | None) -> Dataset:
        if pattern not in self._regrouped:
            self._regrouped[pattern] = regroup(self.dataset, pattern)
        return self._regrouped[pattern]

    def _evaluated(self, roles: Roles) -> tuple[tuple[Case, ...], str]:
        role = self.suite.evaluation.role
        test = tuple(case for case in roles.test if case.label is not None)
        if role == "test" or (role == "auto" and test):
            cases, role = test, "test"
        else:
            cases, role = roles.val, "val"
        if not cases:
            raise PaucisError(
                f"{self.dataset.root}: no {role} case with a label is there to evaluate: hold some out (data.test=0.2, "
                "data.validation=0.2) or give data.split=FILE"
            )
        return cases, role

    def _plan(self, config: Config, dataset: Dataset, split: Split, roles: Roles) -> Plan:
        shared = [asdict(split), asdict(config.data), config.network, config.network_options, config.device]
        memory = json.dumps(shared, sort_keys=True, default=str)
        if memory not in self._plans:
            facts = self._look(config, dataset, roles)
            dataset = with_classes(dataset, facts.values())
            training = dataclasses.replace(dataset, cases=(*roles.labeled, *roles.unlabeled))
            budget = BUDGET if devices.resolve(config.device).type == "cuda" else CPU_BUDGET
            self._plans[memory] = fitted(make_plan(training, facts, config.data, budget), config)
        return self._plans[memory]

    def _look(self, config: Config, dataset: Dataset, roles: Roles) -> dict[str, CaseFacts]:
        """Facts of the training and validation cases; a case without its label is another case."""
        used = [*roles.labeled, *roles.unlabeled, *roles.val]
        new = [case for case in used if (case.name, case.label is None) not in self._facts]
        if new:
            found, problems = gather(new, cache_home(config.data), prepare_workers(config.data), self.progress)
            self._facts |= {(case.name, case.label is None): found[case.name] for case in new if case.name in found}
            known = {case.name: fact for case in used if (fact := self._facts.get((case.name, case.label is None)))}
            problems = [*problems, *check(dataclasses.replace(dataset, cases=tuple(used)), known)]
            errors = [problem for problem in problems if problem.level == "error"]
            if errors:
                more = f" (and {len(errors) - 1} more: `paucis check` lists all)" if len(errors) > 1 else ""
                raise PaucisError(f"{errors[0]}{more}")
        return {case.name: self._facts[case.name, case.label is None] for case in used}


def _check(config: Config, plan: Plan, roles: Roles) -> list[str]:
    batch = config.train.batch_size or plan.batch_size
    setting = Setting(
        task=plan.task(),
        labeled=len(roles.labeled),
        unlabeled=len(roles.unlabeled),
        batch_size=batch,
        unlabeled_batch_size=config.train.unlabeled_batch_size or batch,
        network=config.network,
    )
    return METHODS.get(config.method).check(setting, method_options(config))


def _key(job: Job, split: Split, plan: Plan, evaluation: list[Any]) -> str:
    """Names a run by all that its figures depend on, wherever its dataset lies and whatever it runs on."""
    config = job.config.as_dict()
    for name in ("dataset", "also", "device", "recipe", "given", "checkpoint"):
        del config[name]
    for section, names in WITHOUT_EFFECT.items():
        config[section] = {key: value for key, value in config[section].items() if key not in names}
    content = [job.name, config, asdict(split), asdict(plan), evaluation]
    text = json.dumps(content, sort_keys=True, default=lambda value: vars(value))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _neighbor(root: Path) -> str:
    parent = root.expanduser().absolute().parent
    return nearest(root.name, sorted(path.name for path in parent.iterdir())) if parent.is_dir() else ""
