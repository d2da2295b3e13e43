"""The command that learns from images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    images: Annotated[
        str | None, typer.Argument(help="Any folder of images, or a dataset; may be left out with --resume.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Options by dotted name, such as train.steps=300."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = ...,  # type: ignore[assignment]
    method: Annotated[str | None, typer.Option(help="A method that pretrains. [default: ld]")] = None,
    init: Annotated[Path | None, typer.Option(help="Run folder or weights file to start the network from.")] = None,
    recipe: Annotated[str | None, typer.Option(help="`paucis recipes` lists all; or a YAML file.")] = None,
    series: Annotated[
        str | None, typer.Option(help="Of DICOM, the series to take: as `check` lists it, or modality=, largest ...")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    stage: Annotated[str | None, typer.Option(help="Of a method with several stages, train this one alone.")] = None,
    from_stage: Annotated[
        str | None, typer.Option(help="Of the run in --out, train this stage and all after it anew.")
    ] = None,
) -> None:
    """Pretrain a network on images, looking at no label; `train --init` starts from it."""
    from paucis.cli import render
    from paucis.options import parse_overrides
    from paucis.workflows.pretrain import pretrain as work
    from paucis.workflows.train import Hooks

    given = list(overrides or [])
    if images is not None and "=" in images and not Path(images).exists():
        given, images = [images, *given], None
    with render.follow() as screen:
        done = work(
            images,
            out=out,
            method=method,
            init=init,
            recipe=recipe,
            resume=resume,
            stage=stage,
            from_stage=from_stage,
            options=parse_overrides(given if series is None else [*given, f"data.series={series}"]),
            hooks=Hooks(screen.tell, screen.progress, screen.report),
        )
    render.out(render.trained(done, "pretrain"))
    if not done.finished:
        raise typer.Exit(130)


def similarity(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    image: Annotated[Path, typer.Argument(help="A scan.")],
    point: Annotated[
        str, typer.Option(help="Voxel as stored, counted from 0: Y,X of a picture, Z,Y,X of a volume.")
    ] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture (.png).")] = ...,  # type: ignore[assignment]
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[str | None, typer.Option(help="best or last. [default: best where validated]")] = None,
) -> None:
    """Draw how alike the pixels of an image are to one of them, by a run's features, and its clusters."""
    from paucis.cli import render
    from paucis.options import convert
    from paucis.workflows.similarity import similarity as work

    voxel = convert(point, tuple[int, ...], "--point")
    with render.follow():
        done = work(run, image, point=voxel, out=out, device=device, weights=weights)
    also = f", {done.clusters} clusters" if done.clusters else ""
    render.out(f"{done.picture}: similarity of {done.shape[0]} x {done.shape[1]} pixels to {point}{also}")
