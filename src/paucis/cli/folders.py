"""The commands that look at folders of scans, or write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paucis.cli.parameters import Json, Overrides, Series, of_series, section


def check(
    dataset: Annotated[Path, typer.Argument(help="Folder of scans.")],
    overrides: Overrides = None,
    series: Series = None,
    training: Annotated[
        bool, typer.Option("--training", help="Also measure what a training takes; options as of `paucis train`.")
    ] = False,
    method: Annotated[str | None, typer.Option(help="Of the training. [default: supervised]")] = None,
    labels: Annotated[str | None, typer.Option(help="Of the training: labeled cases.")] = None,
    plug: Annotated[list[str] | None, typer.Option(help="Of the training: plug-in to carry; may be repeated.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Of the training.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what a folder of scans holds, every problem with its remedy, and what a training on it will take."""
    from paucis.cli import render
    from paucis.cli.checked import checked, forecasted
    from paucis.data.options import DataOptions, cache_home
    from paucis.data.problems import refuse
    from paucis.errors import PaucisError
    from paucis.options import build, parse_overrides
    from paucis.workflows.check import check_dataset

    asked = {"method": method, "labels": labels, "plug": plug, "recipe": recipe}
    if training:
        from paucis.workflows.request import asked as resolved

        given = {name: value for name, value in asked.items() if value and name in ("method", "labels")}
        values = {**given, **parse_overrides(of_series(list(overrides or []), series))}
        data = resolved(dataset, values, tuple(plug or ()), recipe).data
    else:
        for name, value in asked.items():
            if value:
                raise PaucisError(f"--{name} is of a training: add --training to measure what it takes")
        data = build(DataOptions, section(overrides, "data"), "data.")
    with render.progress() as progress:
        chosen = series or data.series
        report = check_dataset(dataset, group=data.group, series=chosen, store=cache_home(data), progress=progress)
    content, found = report.as_dict(), None
    if training and not report.errors:
        from paucis.workflows.forecast import forecast
        from paucis.workflows.hooks import Hooks

        with render.follow() as screen:
            found = forecast(dataset, values, tuple(plug or ()), recipe, Hooks(progress=screen.progress))
        content["training"] = render.plain(found)
    if as_json:
        render.out(json.dumps(content, indent=2))
    else:
        render.out(checked(report) + (f"\n\n{forecasted(found)}" if found else ""))
    refuse(report.problems, "see above")
    if found:
        found.require()


def prepare(
    name: Annotated[str, typer.Argument(help="`paucis datasets` lists all.")],
    source: Annotated[Path, typer.Argument(help="Folder that the publisher's archives were unpacked into.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new dataset.")] = ...,  # type: ignore[assignment]
    protocol: Annotated[str | None, typer.Option(help="Split and preprocessing. [default: the first listed]")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what is there of an incomplete source.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a published dataset from its publisher's layout into one to train on; nothing is downloaded."""
    from paucis.cli import published, render
    from paucis.workflows.prepare import Refused
    from paucis.workflows.prepare import prepare as work

    try:
        with render.follow() as screen:
            done = work(
                name,
                source,
                out=out,
                protocol=protocol,
                partial=partial,
                progress=lambda done, total: screen.progress("preparing", done, total),
            )
    except Refused as error:
        if as_json:
            render.out(json.dumps({"problems": [render.plain(problem) for problem in error.problems]}, indent=2))
        raise
    render.out(json.dumps(render.plain(done), indent=2) if as_json else published.prepared(done))


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write, an MSD-style dataset.")],
    cases: Annotated[int, typer.Option(min=1, help="Training cases.")] = 24,
    labeled: Annotated[int, typer.Option(min=0, help="How many of them are labeled.")] = 8,
    test: Annotated[int, typer.Option(min=0, help="Further labeled cases in imagesTs and labelsTs.")] = 6,
    size: Annotated[int, typer.Option(min=16, help="Voxels along the longest axis.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the anatomy.")] = 0,
) -> None:
    """Write a made-up dataset to try things on: organs with texture, bias field and blurred boundaries."""
    from paucis.cli import render
    from paucis.workflows.phantom import write_phantoms

    with render.follow() as screen:
        write_phantoms(
            out, cases, labeled, test, size, seed, lambda done, total: screen.progress("making phantoms", done, total)
        )
    render.out(f"{out}: {labeled} labeled, {cases - labeled} unlabeled and {test} test cases")
