"""The command that runs a grid of methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paucis.cli.parameters import Json, Overrides, first_argument


def benchmark(
    suite: Annotated[str, typer.Argument(help="`paucis suites` lists all; or a YAML file.")],
    dataset: Annotated[str | None, typer.Argument(help="Folder of scans, where the suite names none.")] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; goes on with what it holds.")] = ...,  # type: ignore[assignment]
    only: Annotated[list[str] | None, typer.Option(help="Work on this method alone; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and estimate their time.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Do failed runs again.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave weights and masks of finished runs.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Runs at once. [default: one per visible GPU, else 1]")] = None,
    limit_minutes: Annotated[float | None, typer.Option(min=0, help="Start no run after so many minutes.")] = None,
    as_json: Json = False,
) -> None:
    """Run a suite of methods, label budgets and seeds: rows, tables with tests, a label-budget curve."""
    from paucis.cli import render
    from paucis.options import parse_overrides
    from paucis.workflows.benchmark.estimate import estimate
    from paucis.workflows.benchmark.running import Hooks
    from paucis.workflows.benchmark.running import benchmark as work

    dataset, given = first_argument(dataset, overrides)
    options, chosen = parse_overrides(given), tuple(only or ())
    with render.follow() as screen:
        hooks = Hooks(screen.tell, screen.progress)
        if dry_run:
            plan = estimate(suite, dataset, out=out, options=options, only=chosen, retry=retry, hooks=hooks)
        else:
            done = work(
                suite,
                dataset,
                out=out,
                options=options,
                only=chosen,
                retry=retry,
                keep=keep,
                jobs=jobs,
                limit_minutes=limit_minutes,
                hooks=hooks,
            )
    if dry_run:
        render.out(json.dumps(render.plain(plan), indent=2) if as_json else render.planned(plan))
        return
    render.out(json.dumps(render.plain(done), indent=2) if as_json else render.benchmarked(done))
    if done.stopped:
        raise typer.Exit(130)
