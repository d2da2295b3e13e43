"""The commands that train: on few labels, and on images without any."""

from __future__ import annotations

from typing import Annotated

import typer

from paucis.cli.long_work import watched
from paucis.cli.parameters import (
    FromStage,
    Init,
    NewRun,
    Overrides,
    Resume,
    Series,
    Stage,
    first_argument,
    folders_and_options,
)


def train(
    dataset: Annotated[str | None, typer.Argument(help="Folder of scans; may be left out with --resume.")] = None,
    overrides: Overrides = None,
    out: NewRun = ...,  # type: ignore[assignment]
    method: Annotated[str | None, typer.Option(help="`paucis methods` lists all. [default: supervised]")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labeled cases (or groups): a count, a percentage (10%), or a list file.")
    ] = None,
    plug: Annotated[list[str] | None, typer.Option(help="Plug-in to carry; may be repeated.")] = None,
    init: Init = None,
    recipe: Annotated[
        str | None, typer.Option(help="`paucis recipes` lists all; a row of a suite, SUITE:ROW; or a YAML file.")
    ] = None,
    series: Series = None,
    resume: Resume = False,
    stage: Stage = None,
    from_stage: FromStage = None,
) -> None:
    """Train a method on a dataset, of which few cases are labeled."""
    from paucis.cli import render
    from paucis.workflows.train import train as run

    dataset, given = first_argument(dataset, overrides)
    trained = watched(
        run,
        dataset,
        given,
        series,
        out=out,
        method=method,
        labels=labels,
        plugs=tuple(plug or ()),
        init=init,
        recipe=recipe,
        resume=resume,
        stage=stage,
        from_stage=from_stage,
    )
    render.out(render.trained(trained))
    if not trained.finished:
        raise typer.Exit(130)


def pretrain(
    images: Annotated[
        str | None, typer.Argument(help="Any folder of images, or a dataset; may be left out with --resume.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES]... [KEY=VALUE]...",
            help="Further such folders; options by dotted name, such as train.steps=300.",
        ),
    ] = None,
    out: NewRun = ...,  # type: ignore[assignment]
    method: Annotated[str | None, typer.Option(help="A method that pretrains. [default: ld]")] = None,
    init: Init = None,
    recipe: Annotated[str | None, typer.Option(help="`paucis recipes` lists all; or a YAML file.")] = None,
    series: Series = None,
    resume: Resume = False,
    stage: Stage = None,
    from_stage: FromStage = None,
) -> None:
    """Pretrain a network on images, looking at no label; `train --init` starts from it."""
    from paucis.cli import render
    from paucis.workflows.pretrain import pretrain as work

    folders, given = folders_and_options(images, overrides)
    done = watched(
        work,
        folders or None,
        given,
        series,
        out=out,
        method=method,
        init=init,
        recipe=recipe,
        resume=resume,
        stage=stage,
        from_stage=from_stage,
    )
    render.out(render.trained(done, "pretrain"))
    if not done.finished:
        raise typer.Exit(130)
