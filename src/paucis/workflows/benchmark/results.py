"""``results.csv``: one row for each finished or failed run, whole after every row."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paucis.engine.files import write
from paucis.errors import PaucisError

FIRST = (
    "id",
    "suite",
    "name",
    "method",
    "network",
    "labels",
    "labeled",
    "unlabeled",
    "seed",
    "fold",
    "steps",
    "status",
    "error",
    "role",
    "weights",
    "cases",
    "patients",
    "unit",
    "dice",
    "jaccard",
    "hd95",
    "asd",
)
LAST = (
    "train_seconds",
    "evaluation_seconds",
    "total_seconds",
    "seconds_per_step",
    "memory_mib",
    "peak_memory_mib",
    "device",
    "finished_at",
)

Row = dict[str, str]


class Results:
    """The rows of a grid by the id of their run; rows of runs that no suite names any more stay in the file.

    Args:
        path: the CSV; rows it holds are taken over.

    Raises:
        PaucisError: it is no such table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.is_file():
            try:
                with path.open(newline="", encoding="utf-8") as file:
                    self.rows = {row["id"]: {k: v or "" for k, v in row.items()} for row in csv.DictReader(file)}
            except (KeyError, UnicodeDecodeError, csv.Error) as error:
                raise PaucisError(
                    f"{path}: is no table of a benchmark: move it away, or choose another --out"
                ) from error

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row, in place of an earlier one of the same run."""
        self.rows[row["id"]] = {name: _text(value) for name, value in row.items()}
        write(self.path, lambda temporary: temporary.write_text(self._csv(), encoding="utf-8"))

    def drop(self, key: str) -> None:
        """Takes a row out; the file follows with the next ``add``."""
        self.rows.pop(key, None)

    def finished(self, key: str) -> bool:
        """Whether the run has its figures."""
        return self.rows.get(key, {}).get("status") == "finished"

    def failed(self, key: str) -> bool:
        """Whether the run ended with an error."""
        return self.rows.get(key, {}).get("status") == "failed"

    def _csv(self) -> str:
        known = dict.fromkeys(name for row in self.rows.values() for name in row)
        between = [name for name in known if name not in FIRST and name not in LAST]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*FIRST, *between, *LAST], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows.values())
        return text.getvalue()


def figure(row: Mapping[str, str], name: str) -> float:
    """A number of a row; NaN where it has none."""
    text = row.get(name, "")
    return float(text) if text else math.nan


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
