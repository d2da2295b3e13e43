"""Reading a plan that somebody may have edited: every way in which it is no plan is one line."""

from __future__ import annotations

import json
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from paucis.batch import IGNORE
from paucis.data.intensity import Normalization
from paucis.data.plan import Plan
from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.options import build, convert
from paucis.registry import nearest


def load_plan(path: Path) -> Plan:
    """Reads a plan file.

    Raises:
        PaucisError: it cannot be read, or as ``read_plan``.
    """
    return read_plan(read_text(path), str(path))


def read_plan(text: str, source: str = "plan") -> Plan:
    """Reads what ``Plan.to_json`` wrote, or what somebody made of it.

    Args:
        text: the JSON.
        source: its file, for messages.

    Raises:
        PaucisError: not JSON, an entry missing, unknown or of a wrong type, or entries that contradict each other.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise PaucisError(f"{source} is not JSON ({error}): mend that line") from error
    if not isinstance(content, dict):
        raise PaucisError(f"{source} holds no plan")
    plan = Plan(**_entries(content, source))
    for wrong in _contradictions(plan):
        raise PaucisError(f"{source}: {wrong}")
    return plan


def _entries(content: dict[str, Any], source: str) -> dict[str, Any]:
    hints = typing.get_type_hints(Plan)
    names = [field.name for field in fields(Plan)]
    needed = [field.name for field in fields(Plan) if field.default is MISSING]
    for key in content:
        if key not in names:
            raise PaucisError(f"{source}: unknown entry '{key}'{nearest(key, names)}")
    for name in needed:
        if name not in content:
            raise PaucisError(f"{source}: the entry '{name}' is missing")
    given = [name for name in content if name != "normalization"]
    read = {name: convert(content[name], hints[name], f"{source}: {name}") for name in given}
    scalings = content["normalization"]
    if not isinstance(scalings, list) or not all(isinstance(item, dict) for item in scalings):
        raise PaucisError(f"{source}: normalization must be a list with one entry per channel")
    read["normalization"] = tuple(build(Normalization, item, f"{source}: normalization.") for item in scalings)
    return read


def _contradictions(plan: Plan) -> list[str]:
    """Everything in a plan that cannot be, one line each."""
    found = []

    def must(fine: bool, message: str) -> None:
        if not fine:
            found.append(message)

    n = plan.ndim
    must(n in (2, 3), f"ndim={n} must be 2 or 3")
    must(plan.orientation in ("LPS", "stored"), f"orientation='{plan.orientation}' must be LPS or stored")
    must(
        (plan.slice_axis in (0, 1, 2)) if n == 2 else plan.slice_axis is None,
        "slice_axis must be 0, 1 or 2 in 2D, null in 3D",
    )
    must(len(plan.channels) >= 1, "channels must not be empty")
    must(len(plan.normalization) == len(plan.channels), "normalization needs one entry per channel")
    must(
        all(c.complete for c in plan.normalization),
        "normalization ct needs mean, std, low and high; dataset mean and std; local reach",
    )
    must(2 <= len(plan.classes) < IGNORE, f"classes must be 2 to {IGNORE - 1} names, background first")
    must(len(set(plan.values)) == len(plan.values) == len(plan.classes), "values needs one raw mask value per class")
    must(plan.field in ("none", "auto", "masks"), f"field='{plan.field}' must be none, auto or masks")
    must(not set(plan.ignore) & set(plan.values), "ignore must not hold the value of a class")
    must((plan.spacing is None) != (plan.size is None), "one of spacing and size must be given, the other null")
    must(
        plan.spacing is None or (len(plan.spacing) == n and min(plan.spacing) > 0), f"spacing needs {n} entries above 0"
    )
    must(plan.size is None or (n == 2 and len(plan.size) == 2 and min(plan.size) > 0), "size needs (Y, X), in 2D")
    must(len(plan.patch) == n and min(plan.patch, default=0) > 0, f"patch needs {n} entries above 0")
    must(all(len(s) == n and min(s, default=0) > 0 for s in plan.strides), f"each of strides needs {n} entries above 0")
    must(bool(plan.strides) and set(plan.strides[0]) == {1}, "the first of strides is the finest level: ones")
    must(
        len(set(plan.flips)) == len(plan.flips) and all(0 <= axis < n for axis in plan.flips),
        f"flips must be axes below {n}",
    )
    must(plan.batch_size >= 1, "batch_size must be at least 1")
    if not found:
        fits = all(size % step == 0 for size, step in zip(plan.patch, plan.multiple, strict=True))
        must(fits, f"patch {list(plan.patch)} must be a multiple of {list(plan.multiple)}, as strides divide it")
    return found
