"""The commands that draw what the features of a run hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paucis.cli.parameters import Device, Json, Run, Weights


def embed(
    run: Run,
    images: Annotated[Path, typer.Argument(help="A dataset, a folder of scans, or a scan.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture (.png); the points go beside it as .csv.")] = ...,  # type: ignore[assignment]
    per_class: Annotated[
        int, typer.Option(help="Pixels of each class (regions of each cluster), of all scans together.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Of the choice of pixels and of the projection.")] = 0,
    role: Annotated[
        str | None, typer.Option(help="Only the cases of this role in the run's split: val, test, labeled, unlabeled.")
    ] = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Draw pixel features in two dimensions (t-SNE) by class, correctness and uncertainty; of `ld`, its regions."""
    from paucis.cli import render
    from paucis.workflows.embed import embed as work

    with render.follow() as screen:
        done = work(
            run,
            images,
            out=out,
            per_class=per_class,
            seed=seed,
            role=role,
            device=device,
            weights=weights,
            progress=lambda done, total: screen.progress("embedding", done, total),
        )
    render.out(json.dumps(render.plain(done), indent=2) if as_json else render.embedded(done))


def similarity(
    run: Run,
    image: Annotated[Path, typer.Argument(help="A scan.")],
    point: Annotated[
        str, typer.Option(help="Voxel as stored, counted from 0: Y,X of a picture, Z,Y,X of a volume.")
    ] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture (.png).")] = ...,  # type: ignore[assignment]
    device: Device = "auto",
    weights: Weights = None,
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
