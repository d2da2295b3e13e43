"""The split of a published protocol, told by positions in the sorted names of a dataset's labeled cases.

The lists that go with published benchmarks follow rules; the rules are kept here, not the lists::

    split:
      cases: 100
      folds:
        - {train: "0-78,82", test: "79-81,83-99"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis.data.case import Dataset
from paucis.engine.files import write_json
from paucis.errors import PaucisError
from paucis.registry import nearest

ROLES = ("train", "val", "test")


@dataclass(frozen=True)
class Protocol:
    """A split that a suite brings, or demands.

    Attributes:
        cases: labeled cases that the dataset must have.
        folds: positions of each role's cases, in order, fold by fold. Empty: the dataset must ship a split.
    """

    cases: int
    folds: tuple[dict[str, tuple[int, ...]], ...]

    def write(self, dataset: Dataset, path: Path) -> None:
        """Writes the lists for a dataset, as ``data.split`` reads them.

        Raises:
            PaucisError: the dataset has another number of labeled cases.
        """
        names = sorted(case.name for case in dataset.cases if case.label is not None)
        if len(names) != self.cases:
            raise PaucisError(
                f"{dataset.root} has {len(names)} labeled cases and the protocol's split is of {self.cases}: give the "
                "published dataset, or a split of your own with data.split=FILE"
            )
        folds = [{role: [names[place] for place in fold.get(role, ())] for role in ROLES} for fold in self.folds]
        write_json(path, folds[0] if len(folds) == 1 else folds)

    def demand(self, dataset: Dataset) -> None:
        """Raises PaucisError where the dataset must ship a split and ships none."""
        if not dataset.split:
            raise PaucisError(
                f"{dataset.root} ships no split, and this suite's protocol needs one in the published order: put a "
                "splits.json with the lists train, val and test into it, or give data.split=FILE"
            )


def read_protocol(content: Any) -> Protocol:
    """``shipped``, or ``cases`` and ``folds`` with ranges of positions.

    Raises:
        PaucisError: something else, a position outside the cases, or one in two roles.
    """
    if content == "shipped":
        return Protocol(0, ())
    if not isinstance(content, dict) or set(content) != {"cases", "folds"} or not isinstance(content["folds"], list):
        raise PaucisError("'split' must be 'shipped', or hold 'cases' and 'folds' (a list of {train, val, test})")
    cases = content["cases"]
    if not isinstance(cases, int) or not content["folds"]:
        raise PaucisError("'split' needs a whole number of 'cases' and at least one fold")
    return Protocol(cases, tuple(_fold(fold, cases) for fold in content["folds"]))


def _fold(fold: Any, cases: int) -> dict[str, tuple[int, ...]]:
    if not isinstance(fold, Mapping) or "train" not in fold:
        raise PaucisError("a fold of 'split' must hold 'train' and may hold 'val' and 'test'")
    for role in fold:
        if role not in ROLES:
            raise PaucisError(f"'split' knows no '{role}'{nearest(str(role), list(ROLES))} (train, val, test)")
    found = {role: _positions(str(text), cases) for role, text in fold.items()}
    everything = [place for places in found.values() for place in places]
    if len(set(everything)) != len(everything):
        raise PaucisError("a fold of 'split' lists a position twice")
    return found


def _positions(text: str, cases: int) -> tuple[int, ...]:
    places: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise PaucisError(f"'{part}' in 'split' is no position or range such as 0-78")
        places += range(int(first), int(last if dash else first) + 1)
    if not places or max(places) >= cases:
        raise PaucisError(f"'{text}' in 'split' lies outside the {cases} cases (positions count from 0)")
    return tuple(places)
