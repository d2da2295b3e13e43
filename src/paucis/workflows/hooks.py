"""How a caller follows long work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tell = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Hooks:
    """How a caller follows a training; all may stay None."""

    tell: Tell | None = None
    progress: Progress | None = None
    report: Callable[[dict[str, Any]], None] | None = None

    def counting(self, what: str) -> Callable[[int, int], None] | None:
        """Follows one piece of work, called with how much of it is done and how much there is."""
        if self.progress is None:
            return None
        progress = self.progress
        return lambda done, total: progress(what, done, total)
