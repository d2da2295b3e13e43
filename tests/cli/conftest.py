"""The command line without a process of its own: what starting Python and torch costs is paid once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
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


@pytest.fixture(scope="session")
def two_runs(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two trainings of four steps on the phantoms, of different seeds; read them, and leave them as they are."""
    from paucis.workflows.train import train

    small = {"network.features": 4, "train.steps": 4, "train.batch_size": 2, "train.workers": 0, "data.workers": 0}
    small |= {"data.patch": "8,16,16", "data.validation": 0.4, "validation.every": 2, "train.log_every": 1}
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(phantoms, out=folder / f"run{seed}", labels=2, options={**small, "seed": seed})
    return folder / "run0", folder / "run1"


@pytest.fixture(scope="session")
def report_of_two(
    two_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """The report of both runs side by side, written over an older one, and what the command told of it."""
    from paucis.cli import main

    out = tmp_path_factory.mktemp("report") / "both.html"
    out.write_text('<meta name="generator" content="paucis report">')
    words = ["--name", "<first>", "--name", "second", "--cases", "2", "--slices", "6", "--json"]
    with redirect_stdout(io.StringIO()) as told, pytest.raises(SystemExit) as left:
        main(["report", *map(str, two_runs), "--out", str(out), *words])
    assert not left.value.code
    return out, json.loads(told.getvalue())
