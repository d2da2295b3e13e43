"""Which values the masks hold, and which class each of them is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from paucis.data import formats
from paucis.data.case import Case, Dataset
from paucis.data.facts import CaseFacts
from paucis.errors import PaucisError

_MOST = 256


def discover_values(cases: Iterable[Case]) -> tuple[int, ...]:
    """The raw values in the masks of these cases, ascending, with 0 (background) always among them.

    Opens the label of every case that has one: hand over only cases whose labels may be looked at.

    Raises:
        PaucisError: no mask shows any foreground, masks disagree on 1 or 255 for the foreground, or there are more
            values than classes can be (a picture in place of a mask).
    """
    return _agreed({case.name: _values(case, case.label) for case in cases if case.label})


def values_of(facts: Iterable[CaseFacts]) -> tuple[int, ...]:
    """As ``discover_values``, from facts already gathered.

    Raises:
        PaucisError: as ``discover_values``.
    """
    return _agreed({fact.name: list(fact.label_counts) for fact in facts if fact.label_counts is not None})


def with_classes(dataset: Dataset, facts: Iterable[CaseFacts]) -> Dataset:
    """The dataset with its classes: as its layout names them, else as the masks in ``facts`` show them.

    Raises:
        PaucisError: as ``discover_values``.
    """
    if dataset.values:
        return dataset
    values = values_of(facts)
    return replace(dataset, values=values, classes=name_classes(values))


def name_classes(values: Sequence[int]) -> tuple[str, ...]:
    """Names for classes that nobody named: background and foreground, or background, class_1, class_2 ..."""
    if len(values) == 2:
        return ("background", "foreground")
    return ("background", *(f"class_{index}" for index in range(1, len(values))))


def _values(case: Case, label: Path) -> list[int]:
    found: list[int] = np.unique(formats.read_label(label, lambda: formats.read_grid(case.images)).array).tolist()
    return found


def _agreed(held: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    for name, values in held.items():
        if len(values) > _MOST:
            raise PaucisError(f"the label of case '{name}' holds {len(values)} values: it is a picture, not a mask")
    values = tuple(sorted({0}.union(*held.values())))
    if len(values) == 1:
        raise PaucisError("no label shows any foreground: add masks that do (`paucis check` lists the labels)")
    if values == (0, 1, 255) and not any({1, 255} <= set(one) for one in held.values()):
        pair = [next(name for name, one in held.items() if value in one) for value in (1, 255)]
        raise PaucisError(
            f"the foreground is 1 in the mask of '{pair[0]}' and 255 in that of '{pair[1]}': save all masks alike"
        )
    return values
