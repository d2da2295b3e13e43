"""Arguments and options that several commands share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Options by dotted name, such as train.steps=300."),
]
Series = Annotated[
    str | None,
    typer.Option(
        help="Of DICOM, the series to take: as `check` lists it, or modality=, description=, number=, largest."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output, nothing else.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
NewRun = Annotated[Path, typer.Option("--out", "-o", help="Run folder.")]
Init = Annotated[Path | None, typer.Option(help="Run folder or weights file to start the network from.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Stage = Annotated[str | None, typer.Option(help="Of a method with several stages, train this one alone.")]
FromStage = Annotated[str | None, typer.Option(help="Of the run in --out, train this stage and all after it anew.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Weights = Annotated[str | None, typer.Option(help="best or last. [default: best where validated]")]


def first_argument(given: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Tells a folder that may be left out from an option that stands in its place: the folder, and all options."""
    options = list(overrides or [])
    if given is not None and "=" in given and not Path(given).exists():
        return None, [given, *options]
    return given, options


def folders_and_options(first: str | None, rest: list[str] | None) -> tuple[list[str], list[str]]:
    """Tells any number of folders from the options among and after them."""
    words = [*([] if first is None else [first]), *(rest or [])]
    options = [word for word in words if "=" in word and not Path(word).exists()]
    return [word for word in words if word not in options], options


def of_series(options: list[str], series: str | None) -> list[str]:
    """The options with ``--series`` among them."""
    return options if series is None else [*options, f"data.series={series}"]


def section(overrides: list[str] | None, section: str) -> dict[str, Any]:
    """The options of the one section that a command takes, without its name before them."""
    from paucis.errors import PaucisError
    from paucis.options import parse_overrides
    from paucis.registry import nearest

    values = parse_overrides(overrides or [])
    for key in values:
        if key.partition(".")[0] != section:
            raise PaucisError(
                f"unknown option '{key}'{nearest(key, [section + '.'])}: only {section}.* options go here"
            )
    return {key.partition(".")[2]: value for key, value in values.items()}
