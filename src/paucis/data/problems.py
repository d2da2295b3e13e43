"""What is wrong with a dataset, said so that its owner can mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paucis.errors import PaucisError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        level: ``error`` where training would fail or learn from wrong data, else ``warning``.
        file: the file or key it is about.
        message: what is wrong with it.
        remedy: what to do.
    """

    level: Literal["error", "warning"]
    file: str
    message: str
    remedy: str

    @classmethod
    def of(cls, error: PaucisError, files: Sequence[Path]) -> Problem:
        """The problem that an error about one of ``files`` tells: its line divided into file, message and remedy."""
        text = str(error)
        file = next((str(file) for file in files if text.startswith(str(file))), "")
        told, _, remedy = text.removeprefix(file).strip(" :").rpartition(": ")
        return cls("error", file or str(files[0]), told or remedy, remedy if told else "check the file")

    def __str__(self) -> str:
        return f"{self.file}: {self.message}: {self.remedy}"


def refuse(problems: Iterable[Problem], others: str) -> None:
    """Raises the first error as a ``PaucisError``; ``others`` tells where further ones are listed."""
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more: {others})" if len(errors) > 1 else ""
        raise PaucisError(f"{errors[0]}{more}")
