"""The commands from a run to masks, and from masks to tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paucis.cli.parameters import Device, Json, Overrides, Run, Series, Weights, section


def predict(
    run: Run,
    scans: Annotated[Path, typer.Argument(help="A scan, or a folder of scans.")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the masks and maps.")] = ...,  # type: ignore[assignment]
    also: Annotated[list[Path] | None, typer.Option(help="A further run of an ensemble; may be repeated.")] = None,
    device: Device = "auto",
    weights: Weights = None,
    role: Annotated[
        str | None, typer.Option(help="Of a dataset, only the cases of this role in the run's split: val, test ...")
    ] = None,
    series: Series = None,
    form: Annotated[
        str, typer.Option("--format", help="Masks in each scan's own format (DICOM: NIfTI), or dicom-seg.")
    ] = "own",
    output: Annotated[
        str | None,
        typer.Option(help="Of a run with several answers, this one: refined, clustering, clusters."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write class probabilities as maps too.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the cases, on a CPU.")] = 1,
) -> None:
    """Write the masks of scans on their own grid, with uncertainty maps and a table of structures."""
    from paucis.cli import render
    from paucis.workflows.predict import predict as work

    with render.follow() as screen:
        done = work(
            run,
            scans,
            out=out,
            also=tuple(also or ()),
            options={**section(overrides, "predict"), **({} if output is None else {"output": output})},
            device=device,
            weights=weights,
            role=role,
            series=series,
            form=form,
            save_probabilities=probabilities,
            jobs=jobs,
            progress=lambda done, total: screen.progress("predicting", done, total),
        )
    render.out(render.predicted(done))


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted masks, or one mask.")],
    labels: Annotated[Path, typer.Argument(help="Folder of reference masks, a dataset, or one mask.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="[default: PREDICTIONS/evaluation]")] = None,
    convention: Annotated[str, typer.Option(help="Empty masks and units: strict or literature.")] = "strict",
    tolerance: Annotated[float, typer.Option(help="Tolerance of surface Dice in mm (pixels for pictures).")] = 1.0,
    group: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a case name, for the intervals.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Images for the picture sheet, where they are not known.")] = None,
    series: Series = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept labels without a prediction.")] = False,
    as_json: Json = False,
) -> None:
    """Compare masks with references: tables with intervals, and pictures of the worst, median and best case."""
    from paucis.cli import render
    from paucis.workflows.evaluate import evaluate as work

    with render.follow() as screen:
        result = work(
            predictions,
            labels,
            out=out,
            convention=convention,
            tolerance_mm=tolerance,
            group=group,
            images=images,
            series=series,
            partial=partial,
            progress=lambda done, total, _: screen.progress("comparing", done, total),
        )
    render.out(json.dumps(result.summary.to_dict(), indent=2) if as_json else render.evaluated(result))
