"""What a report says of a run itself: its data and roles, what was asked for, versions, how far it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from paucis.data.case import Dataset
from paucis.data.groups import group_of, regroup
from paucis.data.layouts import recognize
from paucis.data.plan import Plan
from paucis.data.split import Split
from paucis.data.union import joined
from paucis.engine.config import Config
from paucis.engine.files import read_json
from paucis.engine.runs import RunFolder
from paucis.errors import PaucisError
from paucis.workflows.report.curves import Course, read_course

ROLES = {"labeled": "training, labeled", "unlabeled": "training, unlabeled", "val": "validation", "test": "test"}
"""What the roles of a split are called in tables."""


@dataclass(frozen=True)
class Subject:
    """A run that is reported on.

    Attributes:
        name: what it is called.
        folder: its folder.
        config: what it was trained with.
        plan: of its data.
        split: roles of its cases.
        dataset: its cases with their patients.
        state: content of ``run.json``.
        environment: versions and machine of the training.
        training: course of ``training.csv``.
        validation: course of ``validation.csv``.
    """

    name: str
    folder: RunFolder
    config: Config
    plan: Plan
    split: Split
    dataset: Dataset
    state: dict[str, Any]
    environment: dict[str, Any]
    training: Course
    validation: Course

    @property
    def unfinished(self) -> bool:
        """Whether the training was stopped or failed."""
        return self.state.get("status") != "finished"

    def labeled(self, role: str) -> tuple[str, ...]:
        """The cases of a role that have a label."""
        labels = {case.name for case in self.dataset.cases if case.label is not None}
        return tuple(name for name in getattr(self.split, role) if name in labels)


def read_subject(name: str, path: Path, dataset: Path | None) -> Subject:
    """Reads a run folder and lists its dataset; no scan is opened.

    Args:
        name: what the run is called.
        path: of the run.
        dataset: folder of the dataset; None takes the one that the run was trained on.

    Raises:
        PaucisError: not a run folder, a file of it is missing, or its dataset is not where it was.
    """
    folder = RunFolder(path)
    folder.require()
    config = folder.config()
    places = [Path(place) for place in (config.dataset, *config.also)] if dataset is None else [dataset]
    gone = next((place for place in places if dataset is None and not place.exists()), None)
    if gone is not None:
        raise PaucisError(f"{gone}, which {path} was trained on, is not there: say where it is now (--dataset)")
    found = joined([regroup(recognize(place, config.data.series), config.data.group) for place in places])
    split = folder.split()
    names = {case.name for case in found.cases}
    lost = [name for name in (*split.val, *split.test) if name not in names]
    if lost:
        raise PaucisError(f"{places[0]}: has no case '{lost[0]}', which the split of {path} names: check --dataset")
    state = folder.state()
    lengths = {name: int(result["steps"]) for name, result in state.get("results", {}).items()}
    return Subject(
        name=name,
        folder=folder,
        config=config,
        plan=folder.plan(),
        split=split,
        dataset=found,
        state=state,
        environment=read_json(folder.environment_file) if folder.environment_file.is_file() else {},
        training=read_course(folder.training_file, lengths),
        validation=read_course(folder.validation_file, lengths),
    )


def roles_of(subject: Subject) -> list[list[str]]:
    """For each role: its name, cases, those of them with a label, patients; labels of ``unlabeled`` are not counted."""
    cases = {case.name: case for case in subject.dataset.cases}
    rows = []
    for role, title in ROLES.items():
        names = getattr(subject.split, role)
        patients = {group_of(cases[name]) for name in names if name in cases}
        labels = "not used" if role == "unlabeled" else str(len(subject.labeled(role)))
        rows.append([title, str(len(names)), labels, str(len(patients))])
    return rows


def facts_of(subject: Subject) -> list[tuple[str, str]]:
    """What the data are and how they are prepared, as name and value."""
    plan = subject.plan
    grid = " x ".join(f"{value:g}" for value in plan.spacing) + " mm" if plan.spacing else ""
    size = " x ".join(map(str, plan.size)) + " voxels" if plan.size else ""
    kinds = dict.fromkeys(one.kind for one in plan.normalization)
    facts = [
        ("dataset", subject.dataset.root.resolve().name),
        ("dimensions", f"{plan.ndim}D"),
        ("channels", ", ".join(plan.channels)),
        ("classes", ", ".join(plan.classes)),
        ("planned grid", size or grid or "as stored"),
        ("patch", " x ".join(map(str, plan.patch))),
        ("normalization", ", ".join(kinds)),
    ]
    return [(name, value) for name, value in facts if value]


def settings_of(subjects: Sequence[Subject]) -> list[list[str]]:
    """A line for every option that was asked for, in any run; what a run did not ask for is its default."""
    asked = dict.fromkeys(key for one in subjects for key in one.config.given if key not in ("method", "network"))
    rows = [
        ["method", *(one.config.method for one in subjects)],
        ["network", *(one.config.network for one in subjects)],
    ]
    if any(one.config.plugs for one in subjects):
        rows.append(["plug-ins", *(", ".join(one.config.plugs) or "-" for one in subjects)])
    flat = [flat_options(one.config) for one in subjects]
    return rows + [[key, *(options.get(key, "-") for options in flat)] for key in asked]


def flat_options(config: Config) -> dict[str, str]:
    """Every option by dotted name; of paths, the last part alone."""
    found: dict[str, str] = {}
    for key, value in config.as_dict().items():
        if key in ("given", "plugs"):
            continue
        if isinstance(value, dict):
            section = key.removesuffix("_options")
            found |= {f"{section}.{name}": shown(one) for name, one in value.items()}
        else:
            found[key] = shown(value)
    for name, options in config.plugs.items():
        found |= {f"plug.{name}.{key}": shown(one) for key, one in options.items()}
    return found


def shown(value: Any) -> str:
    """An option's value as a page shows it: a report that is handed on tells nobody's folders."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
