"""The label budget: how ``--labels`` is read, and which cases it pays for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paucis.data.case import Case
from paucis.data.groups import grouped
from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.registry import nearest


@dataclass(frozen=True)
class Budget:
    """What ``--labels`` asks for; everything where all three are None.

    Attributes:
        count: so many groups.
        share: this share of the labeled groups of the training part.
        names: exactly these cases.
        source: the list file that ``names`` came from, for messages.
    """

    count: int | None = None
    share: float | None = None
    names: tuple[str, ...] | None = None
    source: str = ""


def read_budget(labels: str | int | None) -> Budget:
    """``8``, ``"8"``, ``"10%"``, a list file with one case name per line, or None for all.

    Raises:
        PaucisError: none of these, a share that is 0 or above 100 %, or an empty list file.
    """
    if labels is None:
        return Budget()
    text = str(labels).strip()
    if text.isdigit():
        return Budget(count=int(text))
    if text.endswith("%"):
        return Budget(share=_share(text))
    path = Path(text).expanduser()
    if not path.is_file():
        raise PaucisError(f"--labels={text} is neither a count, nor a percentage such as 10%, nor a file that exists")
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not names:
        raise PaucisError(f"--labels={text} names no case: write one case name per line")
    return Budget(names=names, source=text)


def refuse_unknown(budget: Budget, names: Sequence[str]) -> None:
    """Raise ``PaucisError`` where a list file names what is no case of the dataset at all."""
    for name in budget.names or ():
        if name not in names:
            raise PaucisError(f"{budget.source}: '{name}' is not a case of this dataset{nearest(name, list(names))}")


def choose(cases: Sequence[Case], budget: Budget, order: str, seed: int, reserved: str = "") -> tuple[str, ...]:
    """Names of the training cases whose labels may be looked at.

    Args:
        cases: the training part, in list order.
        budget: what is asked for.
        order: ``list`` takes the first groups of the list, ``seed`` a draw of them.
        seed: of that draw.
        reserved: what else holds labeled groups, for the message.

    Raises:
        PaucisError: more is asked for than has labels, or a listed case has none.
    """
    if budget.names is not None:
        return _listed(cases, budget)
    groups = [name for name, members in grouped(cases).items() if any(case.label for case in members)]
    wanted = len(groups)
    if budget.share is not None:
        wanted = min(wanted, max(1, round(budget.share * len(groups))))
    if budget.count is not None:
        wanted = budget.count
    if wanted > len(groups):
        kind = "cases" if len(groups) == sum(1 for case in cases if case.label) else "labeled groups (patients)"
        raise PaucisError(
            f"--labels={wanted} asks for more than there is: {len(groups)} {kind} with labels{reserved}; "
            f"ask for at most {len(groups)}"
        )
    if order == "seed":
        groups = [groups[index] for index in np.random.default_rng(seed).permutation(len(groups))]
    taken = set(groups[:wanted])
    return tuple(
        case.name for name, members in grouped(cases).items() if name in taken for case in members if case.label
    )


def _share(text: str) -> float:
    try:
        share = float(text[:-1]) / 100
    except ValueError:
        raise PaucisError(f"--labels={text} is not a percentage: write it as 10%") from None
    if not 0 < share <= 1:
        raise PaucisError(f"--labels={text} must be above 0% and at most 100%")
    return share


def _listed(cases: Sequence[Case], budget: Budget) -> tuple[str, ...]:
    known = {case.name: case for case in cases}
    for name in budget.names or ():
        if name not in known:
            raise PaucisError(
                f"{budget.source}: case '{name}' is held out for validation or testing: take it off the list"
            )
        if known[name].label is None:
            raise PaucisError(f"{budget.source}: case '{name}' has no label: take it off the list or add its mask")
    return tuple(case.name for case in cases if case.name in set(budget.names or ()))
