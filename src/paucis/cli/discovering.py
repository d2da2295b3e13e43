"""The command that segments without labels, guided by masks of other images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paucis.cli.long_work import watched
from paucis.cli.parameters import FromStage, Init, NewRun, Overrides, Resume, Series, Stage, first_argument


def discover(
    images: Annotated[
        str | None, typer.Argument(help="Any folder of images, or a dataset; may be left out with --resume.")
    ] = None,
    overrides: Overrides = None,
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of reference masks; may be left out with --resume.")
    ] = None,
    out: NewRun = ...,  # type: ignore[assignment]
    field: Annotated[
        str | None, typer.Option(help="Field of view: auto (fundus), or a folder of masks. [default: whole images]")
    ] = None,
    init: Init = None,
    recipe: Annotated[str | None, typer.Option(help="`paucis recipes` lists all; or a YAML file.")] = None,
    series: Series = None,
    resume: Resume = False,
    stage: Stage = None,
    from_stage: FromStage = None,
) -> None:
    """Learn to segment what has the shapes of reference masks, in images without any label; then `predict`."""
    from paucis.cli import render
    from paucis.workflows.discover import discover as work

    images, given = first_argument(images, overrides)
    done = watched(
        work,
        images,
        given,
        series,
        shapes=shapes,
        out=out,
        field=field,
        init=init,
        recipe=recipe,
        resume=resume,
        stage=stage,
        from_stage=from_stage,
    )
    render.out(render.discovered(done))
    if not done.trained.finished:
        raise typer.Exit(130)
