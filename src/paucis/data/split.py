"""Who is what: labeled, unlabeled, validation and test cases, fixed once and saved with the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from paucis.data.budget import choose, read_budget, refuse_unknown
from paucis.data.case import Case, Dataset
from paucis.data.groups import regroup
from paucis.data.options import DataOptions
from paucis.data.parts import Parts, divide
from paucis.errors import PaucisError
from paucis.files import write_text
from paucis.registry import nearest


@dataclass(frozen=True)
class Split:
    """Case names by role.

    Attributes:
        labeled: training cases whose labels may be looked at.
        unlabeled: training cases whose labels, if they have one, are never opened.
        val: validation cases, all with labels.
        test: test cases.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @property
    def train(self) -> tuple[str, ...]:
        """Labeled and unlabeled training cases."""
        return self.labeled + self.unlabeled

    def with_labeled(self, names: Sequence[str]) -> Split:
        """The split after the labels of some unlabeled cases were added, in order behind those that were there."""
        rest = tuple(name for name in self.unlabeled if name not in set(names))
        return replace(self, labeled=(*self.labeled, *names), unlabeled=rest)

    def save(self, path: Path) -> None:
        """Writes JSON that ``data.split`` reads."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Split:
        """Reads what ``save`` wrote.

        Raises:
            PaucisError: the file is missing or holds no saved split.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{role: tuple(map(str, names)) for role, names in content.items()})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise PaucisError(f"{path} is not a saved split: {error}") from error


class Roles(NamedTuple):
    """The cases of a split; the unlabeled ones know of no label."""

    labeled: tuple[Case, ...]
    unlabeled: tuple[Case, ...]
    val: tuple[Case, ...]
    test: tuple[Case, ...]


def make_split(
    dataset: Dataset, options: DataOptions, labels: str | int | None = None, seed: int = 0, *, need_labels: bool = True
) -> Split:
    """Fixes every case's role.

    Args:
        dataset: as its layout tells it.
        options: ``data.*``.
        labels: ``--labels``: a count of groups (of cases where no groups are named), a percentage of the labeled
            groups of the training part, a list file, or None for all. A count that leaves nothing for the held-out
            validation part shrinks that part before it is refused.
        seed: of the run; draws the labeled groups where ``data.order=seed``.
        need_labels: refuse a split without a labeled case.

    Raises:
        PaucisError: more labels asked for than exist, none at all, or a split that cannot be (``paucis.data.parts``).
    """
    dataset = regroup(dataset, options.group)
    budget = read_budget(labels)
    refuse_unknown(budget, [case.name for case in dataset.cases])
    parts = divide(dataset, options, budget)
    cases = {case.name: case for case in dataset.cases}
    train = [cases[name] for name in parts.train]
    if parts.labeled is not None and labels is None:
        labeled = parts.labeled
        _refuse_unlabeled(labeled, cases, str(options.split))
    else:
        labeled = choose(train, budget, options.order, seed, _reserved(parts))
    if need_labels and not labeled:
        raise PaucisError(_nothing(dataset, labels))
    taken = set(labeled)
    unlabeled = tuple(name for name in parts.train if name not in taken)
    return Split(labeled, unlabeled[: options.unlabeled], parts.val or (), parts.test)


def apply_split(dataset: Dataset, split: Split) -> Roles:
    """The cases of each role. Unlabeled ones have lost their label's path: nothing downstream can open it.

    Raises:
        PaucisError: the split names a case that the dataset has not, or a labeled case has no label.
    """
    cases = {case.name: case for case in dataset.cases}
    for name in (*split.train, *split.val, *split.test):
        if name not in cases:
            raise PaucisError(f"the split names '{name}', which {dataset.root} has not{nearest(name, list(cases))}")
    _refuse_unlabeled((*split.labeled, *split.val), cases, "the split")
    return Roles(
        tuple(cases[name] for name in split.labeled),
        tuple(cases[name].unlabeled() for name in split.unlabeled),
        tuple(cases[name] for name in split.val),
        tuple(cases[name] for name in split.test),
    )


def training_part(dataset: Dataset, split: Split) -> Dataset:
    """The dataset as training may know it: labeled cases, and unlabeled ones without their labels."""
    roles = apply_split(dataset, split)
    return replace(dataset, cases=roles.labeled + roles.unlabeled)


def _refuse_unlabeled(names: tuple[str, ...], cases: dict[str, Case], source: str) -> None:
    for name in names:
        if cases[name].label is None:
            raise PaucisError(
                f"{source}: case '{name}' is to be labeled and has no label: add its mask or leave it out"
            )


def _reserved(parts: Parts) -> str:
    held = [f"{len(names)} {role}" for role, names in (("validation", parts.val or ()), ("test", parts.test)) if names]
    return f" outside the {' and '.join(held)} cases" if held else ""


def _nothing(dataset: Dataset, labels: str | int | None) -> str:
    if any(case.label for case in dataset.cases):
        asked = f" (--labels={labels})" if labels is not None else ""
        return f"{dataset.root}: no labeled case is left for training{asked}: ask for more labels or hold out less"
    return f"{dataset.root}: no case has a label: add masks for some cases (`paucis check` shows what was found)"
