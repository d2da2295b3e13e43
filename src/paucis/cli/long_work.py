"""How the commands that train call their workflow: on a screen, with the options that all of them have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from paucis.cli.parameters import of_series

Made = TypeVar("Made")


def watched(work: Callable[..., Made], source: Any, given: list[str], series: str | None, **settings: Any) -> Made:
    """What ``work`` makes of a source, its remarks, progress and report on the screen meanwhile.

    Args:
        work: a workflow that takes ``options`` and ``hooks``.
        source: its first argument.
        given: options as the user wrote them.
        series: of DICOM, or None.
        settings: the workflow's own arguments.
    """
    from paucis.cli import render
    from paucis.options import parse_overrides
    from paucis.workflows.hooks import Hooks

    with render.follow() as screen:
        hooks = Hooks(screen.tell, screen.progress, screen.report)
        return work(source, options=parse_overrides(of_series(given, series)), hooks=hooks, **settings)
