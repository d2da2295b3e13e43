"""The command line without a process of its own: what starting Python and torch costs is paid once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest


class Outcome(NamedTuple):
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command through the entry point; what it writes is seen as a process writes it."""
    from paucis.cli import main

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        written = capfd.readouterr()
        return Outcome(int(left.value.code or 0), written.out, written.err)

    return run


@pytest.fixture
def refused(cli: Callable[..., Outcome]) -> Callable[..., str]:
    """The one line that a mistake is answered with: exit code 2, nothing else on standard error."""

    def run(*arguments: object) -> str:
        done = cli(*arguments)
        lines = done.err.strip().splitlines()
        assert done.code == 2, done
        assert len(lines) == 1, done.err
        assert lines[0].startswith("paucis: ")
        return lines[0]

    return run
