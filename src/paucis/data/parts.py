"""Training, validation and test parts before any label budget: from a file, shipped with the data, or held out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paucis.data.budget import Budget
from paucis.data.case import Case, Dataset
from paucis.data.groups import group_of, grouped
from paucis.data.options import DataOptions
from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.registry import nearest

Names = tuple[str, ...]


class Parts(NamedTuple):
    """Case names by part; ``val`` is None where nobody has fixed it, ``labeled`` where the budget is still open."""

    train: Names
    val: Names | None
    test: Names
    labeled: Names | None = None


def divide(dataset: Dataset, options: DataOptions, budget: Budget) -> Parts:
    """The parts of a dataset whose cases know their groups.

    The first of these that exists decides: ``data.split``, the split that the dataset ships (unless
    ``data.folds`` asks for other folds), the roles of its cases, a draw by ``data.split_seed``.

    Raises:
        PaucisError: a split that cannot be read, names unknown cases, or puts one patient into two parts; a fold
            that does not exist.
    """
    if options.split is not None and options.folds:
        raise PaucisError("data.split and data.folds exclude each other: drop one of them")
    if options.split is not None:
        source, parts = options.split, _from_file(Path(options.split).expanduser(), options.fold)
    elif dataset.split:
        source = f"the split shipped with {dataset.root.name}"
        parts = _with_unlisted(
            dataset, _from_lists(_fold(dataset.split, 0 if options.folds else options.fold, source), source)
        )
    else:
        source, parts = f"the roles in {dataset.root.name}", _from_roles(dataset)
        if options.fold and not options.folds:
            raise PaucisError(f"data.fold={options.fold} needs data.folds=K: this dataset ships no folds")
    _refuse(parts, {case.name: case for case in dataset.cases}, source)
    if options.folds or parts.val is None:
        parts = _hold_out(dataset, parts, options, budget)
    return parts


def _from_file(path: Path, fold: int) -> Parts:
    if path.is_dir():
        path = path / "split.json"
    if not path.is_file():
        raise PaucisError(f"data.split={path}: there is no such file: name a split file or a run folder")
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise PaucisError(f"data.split={path} is not JSON ({error}): mend that line") from error
    if isinstance(content, list):  # fold by fold, as nnU-Net writes it
        content = _fold(content, fold, str(path))
    elif fold:
        raise PaucisError(f"data.fold={fold}: {path} holds one split, not folds; drop data.fold")
    if not isinstance(content, dict):
        raise PaucisError(
            f"{path} holds no split: write {{'train': [...], 'val': [...], 'test': [...]}} with case names"
        )
    return _from_lists(content, str(path))


def _from_lists(lists: Mapping[str, Any], source: str) -> Parts:
    saved = "labeled" in lists
    allowed = ("labeled", "unlabeled", "val", "test") if saved else ("train", "val", "test")
    for key in lists:
        if key not in allowed:
            raise PaucisError(
                f"{source}: unknown part '{key}'{nearest(key, list(allowed))} (parts: {', '.join(allowed)})"
            )
        if not isinstance(lists[key], list | tuple) or not all(isinstance(name, str) for name in lists[key]):
            raise PaucisError(f"{source}: '{key}' must be a list of case names")
    if not saved and "train" not in lists:
        raise PaucisError(f"{source}: the list 'train' is missing")
    val = tuple(lists["val"]) if "val" in lists else None
    test = tuple(lists.get("test", ()))
    if not saved:
        return Parts(tuple(lists["train"]), val, test)
    labeled = tuple(lists["labeled"])
    return Parts(labeled + tuple(lists.get("unlabeled", ())), val or (), test, labeled)


def _from_roles(dataset: Dataset) -> Parts:
    by_role: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for case in dataset.cases:
        by_role[case.role or "train"].append(case.name)
    return Parts(tuple(by_role["train"]), tuple(by_role["val"]) or None, tuple(by_role["test"]))


def _with_unlisted(dataset: Dataset, parts: Parts) -> Parts:
    """A shipped split lists what has labels; scans without one still belong to the pool, or to their own role."""
    listed = {*parts.train, *(parts.val or ()), *parts.test}
    rest = [case for case in dataset.cases if case.name not in listed]
    held = {group_of(case) for case in dataset.cases if case.name in listed.difference(parts.train)}
    held |= {group_of(case) for case in rest if case.role in ("val", "test")}
    pool = tuple(c.name for c in rest if c.label is None and c.role in (None, "train") and group_of(c) not in held)
    val = tuple(case.name for case in rest if case.role == "val")
    return parts._replace(
        train=parts.train + pool,
        val=parts.val + val if parts.val is not None else val or None,
        test=parts.test + tuple(case.name for case in rest if case.role == "test"),
    )


def _fold(folds: Sequence[Any], fold: int, source: str) -> Mapping[str, Any]:
    if fold >= len(folds):
        raise PaucisError(f"data.fold={fold} does not exist: {source} has folds 0 to {len(folds) - 1}")
    chosen = folds[fold]
    if not isinstance(chosen, Mapping):
        raise PaucisError(f"{source}: fold {fold} must hold the lists train and val")
    return chosen


def _refuse(parts: Parts, cases: Mapping[str, Case], source: str) -> None:
    """Raise on what no split may do: unknown or repeated names, a patient in two parts, validation without label."""
    role_of: dict[str, str] = {}
    seen: set[str] = set()
    for role, names in (("train", parts.train), ("val", parts.val or ()), ("test", parts.test)):
        for name in names:
            if name not in cases:
                raise PaucisError(f"{source}: '{name}' is not a case of this dataset{nearest(name, list(cases))}")
            if name in seen:
                raise PaucisError(f"{source}: case '{name}' is listed twice: keep one")
            seen.add(name)
            group = group_of(cases[name])
            if role_of.setdefault(group, role) != role:
                raise PaucisError(f"{source}: patient '{group}' is in both {role_of[group]} and {role}: keep one")
            if role == "val" and cases[name].label is None:
                raise PaucisError(f"{source}: validation case '{name}' has no label: add its mask or leave it out")


def _hold_out(dataset: Dataset, parts: Parts, options: DataOptions, budget: Budget) -> Parts:
    """Takes validation (and test) groups out of the training part; the same ones for every training seed."""
    cases = {case.name: case for case in dataset.cases}
    pool = [cases[name] for name in (*parts.train, *(parts.val or ()))]
    groups = grouped(pool)
    labeled = [name for name, members in groups.items() if any(case.label for case in members)]
    drawn = [labeled[index] for index in np.random.default_rng(options.split_seed).permutation(len(labeled))]
    reserved = {group_of(cases[name]) for name in budget.names or () if name in cases}
    free = [group for group in drawn if group not in reserved]
    tests = [] if parts.test else free[: _part(len(labeled), options.test)]
    free = free[len(tests) :]
    if options.folds:
        vals = _fold_groups([group for group in drawn if group not in tests], options)
    else:
        left = len(labeled) - len(tests) - (budget.count or 0)
        vals = free[: max(0, min(_part(len(labeled), options.validation), left))]
    return Parts(
        train=_names(case for name, members in groups.items() if name not in {*tests, *vals} for case in members),
        val=_names(case for name in vals for case in groups[name] if case.label),
        test=parts.test + _names(case for name in tests for case in groups[name] if case.label),
    )


def _part(groups: int, share: float) -> int:
    """Groups that a share comes to; at least one where it is asked for and three exist."""
    return max(round(groups * share), 1 if share > 0 and groups >= 3 else 0)


def _fold_groups(drawn: list[str], options: DataOptions) -> list[str]:
    if not 2 <= options.folds <= len(drawn):
        raise PaucisError(
            f"data.folds={options.folds} must lie between 2 and {len(drawn)}, the number of labeled groups"
        )
    if options.fold >= options.folds:
        raise PaucisError(
            f"data.fold={options.fold} does not exist: data.folds={options.folds} has 0 to {options.folds - 1}"
        )
    return drawn[options.fold :: options.folds]


def _names(cases: Iterable[Case]) -> Names:
    return tuple(case.name for case in cases)
