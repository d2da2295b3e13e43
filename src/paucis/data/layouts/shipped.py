"""Splits that lie beside a dataset: nnU-Net's ``splits_final.json`` (folds) and ``splits.json`` (roles, in order)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paucis.data.case import Case, Dataset
from paucis.data.layouts.description import read_json
from paucis.errors import PaucisError
from paucis.registry import nearest

ROLES = ("train", "val", "test")


def with_split(dataset: Dataset) -> Dataset:
    """The dataset with the split that its folder ships; ``splits.json`` also gives the order of its cases.

    Raises:
        PaucisError: the file is broken or names a case that is not there.
    """
    if dataset.split or not dataset.root.is_dir():
        return dataset
    if (path := dataset.root / "splits.json").is_file():
        folds = _folds(read_json(path), path)
        order = [name for role in ROLES for name in folds[0].get(role, ())]
        dataset = replace(dataset, cases=in_order(dataset.cases, order))
    elif (path := dataset.root / "splits_final.json").is_file():
        folds = _folds(read_json(path), path)
    else:
        return dataset
    known = {case.name for case in dataset.cases}
    for name in (name for fold in folds for names in fold.values() for name in names):
        if name not in known:
            raise PaucisError(
                f"{path} names '{name}', which is no case of {dataset.root}{nearest(name, sorted(known))}: "
                "mend the list"
            )
    return replace(dataset, split=folds)


def in_order(cases: Iterable[Case], names: Iterable[str]) -> tuple[Case, ...]:
    """Cases in the order of ``names``; those not named follow in the order they had."""
    place = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return tuple(sorted(cases, key=lambda case: place.get(case.name, len(place))))


def _folds(content: Any, path: Path) -> tuple[dict[str, tuple[str, ...]], ...]:
    folds = content if isinstance(content, list) else [content]
    for fold in folds:
        named = isinstance(fold, dict) and any(role in fold for role in ROLES)
        if not named or not all(isinstance(fold.get(role, []), list) for role in ROLES):
            raise PaucisError(f'{path} is no split: write {{"train": [names], "val": [names], "test": [names]}}')
    if not folds:
        raise PaucisError(f"{path} holds no fold: remove it or list the folds")
    return tuple({role: tuple(map(str, fold[role])) for role in ROLES if role in fold} for fold in folds)
