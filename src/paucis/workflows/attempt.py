"""One scan of many: what is wrong with it is told, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from paucis.data.case import Case, Volume
from paucis.data.formats import read_image
from paucis.errors import PaucisError

Result = TypeVar("Result")


def attempt(case: Case, act: Callable[[Volume], Result]) -> tuple[Result | None, str]:
    """What ``act`` makes of a scan, or None and the reason why it cannot: unreadable, unfit, too large for memory."""
    try:
        return act(read_image(case.images)), ""
    except PaucisError as error:
        return None, str(error)
    except RuntimeError as error:  # torch's out-of-memory errors derive from it
        if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error):
            raise
        return None, "does not fit in memory: lower predict.batch, or use device=cpu"


def named(case: Case, reason: str) -> str:
    """The reason with the scan's first file before it, where it names none of them."""
    return reason if any(str(image) in reason for image in case.images) else f"{case.images[0]}: {reason}"
