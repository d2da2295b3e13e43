"""The figures of a run as CSV that survives resuming, beside TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paucis.engine.files import write


class CsvRecord:
    """Rows with a ``stage`` and a ``step``, kept in a file that is whole after every row.

    A new column makes the file be written again with blanks above it. Rows at or after the step a run resumes from
    are dropped, so that a killed run leaves no row twice.

    Args:
        path: the file; rows it holds are taken over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.columns: list[str] = []
        if path.is_file():
            with path.open(newline="") as lines:
                self.rows = [dict(row) for row in csv.DictReader(lines)]
            self.columns = list(self.rows[0]) if self.rows else []

    def cut(self, stage: str, step: int) -> None:
        """Drops the rows of ``stage`` after ``step`` batches."""
        kept = [row for row in self.rows if row["stage"] != stage or int(row["step"]) <= step]
        if len(kept) != len(self.rows):
            self.rows = kept
            self._rewrite()

    def add(self, stage: str, step: int, figures: Mapping[str, float | int | str]) -> None:
        """Appends a row; ``step`` is the number of batches done."""
        row = {"stage": stage, "step": step, **{name: _short(value) for name, value in figures.items()}}
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        if new or not self.path.is_file():
            self.columns += new
            self._rewrite()
        else:
            with self.path.open("a", newline="") as file:
                file.write(self._text([row], header=False))

    def _rewrite(self) -> None:
        write(self.path, lambda temporary: temporary.write_text(self._text(self.rows, header=True)))

    def _text(self, rows: list[dict[str, Any]], header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def _short(value: float | int | str) -> str | int:
    return f"{value:.6g}" if isinstance(value, float) else value
