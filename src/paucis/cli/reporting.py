"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paucis.cli.parameters import Device, Weights


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first is the reference.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file, .html. [default: RUN/report.html of a single run]")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Where the dataset lies. [default: where the run was trained on it]")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="Cases of the run's split to judge: test or val. [default: test, else val]")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="Judge what `paucis predict` wrote here instead; once for each run, in order."),
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="What a run is called; once for each, in order.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Calibration of each class too; keeps a map for each.")
    ] = False,
    cases: Annotated[int, typer.Option(help="Cases with pictures, from the worst to the best.")] = 6,
    case: Annotated[list[str] | None, typer.Option(help="Show this case; may be repeated.")] = None,
    slices: Annotated[int, typer.Option(help="Slices of a case, at most.")] = 24,
    limit: Annotated[float, typer.Option(help="Of the file, in MB; pictures beyond it are left out.")] = 20.0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is no report.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output on standard output, nothing else.")
    ] = False,
) -> None:
    """Write one HTML file about a run, or several: data, curves, tables, calibration, cases to leaf through."""
    import json

    from paucis.cli import render
    from paucis.workflows.report.making import report as work

    with render.follow() as screen:
        done = work(
            runs,
            out=out,
            dataset=dataset,
            role=role,
            predictions=tuple(predictions or ()),
            names=tuple(name or ()),
            weights=weights,
            device=device,
            probabilities=probabilities,
            cases=cases,
            show=tuple(case or ()),
            slices=slices,
            limit=limit,
            force=force,
            progress=screen.progress,
        )
    told = f"{done.out}: {done.size / 1e6:.1f} MB, {done.cases} cases judged, {len(done.shown)} of them with pictures"
    render.out(json.dumps(render.plain(done), indent=2) if as_json else told)
