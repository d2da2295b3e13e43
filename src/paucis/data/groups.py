"""Patients: which cases belong together and so must share a role."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from paucis.data.case import Case, Dataset
from paucis.errors import PaucisError


def group_of(case: Case) -> str:
    """The patient of a case; the case itself where none is named."""
    return case.group or case.name


def regroup(dataset: Dataset, pattern: str | None) -> Dataset:
    """The dataset with the patients that ``data.group`` finds in the names of its cases.

    Args:
        dataset: as its layout tells it.
        pattern: regular expression; its first group, else the whole match, names the patient. None keeps the groups.

    Raises:
        PaucisError: not a regular expression, or a case in whose name it finds nothing.
    """
    if pattern is None:
        return dataset
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise PaucisError(f"data.group='{pattern}' is not a regular expression: {error}") from error
    return replace(dataset, cases=tuple(replace(case, group=_found(expression, case.name)) for case in dataset.cases))


def grouped(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases by patient, patients in the order in which they first appear."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(group_of(case), []).append(case)
    return groups


def _found(expression: re.Pattern[str], name: str) -> str:
    match = expression.search(name)
    found = match and (match.group(1) if expression.groups else match.group(0))
    if not found:
        raise PaucisError(
            f"data.group='{expression.pattern}' finds no patient in the case name '{name}': widen the expression"
        )
    return str(found)
