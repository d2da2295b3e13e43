"""The command that finds landmarks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from paucis.cli.parameters import Device, Json, Run, Weights


def locate(
    run: Run,
    queries: Annotated[Path, typer.Argument(help="A folder of scans, a dataset, or a scan.")],
    support: Annotated[list[Path], typer.Option(help="The scan that the points are in; may be repeated.")],
    point: Annotated[
        list[str],
        typer.Option(
            help="A landmark's voxel as stored, counted from 0: Y,X of a picture, Z,Y,X of a volume, or NAME=Y,X; may "
            "be repeated. Or a .csv file with the columns landmark, y, x (z), and image for several supports."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table (.csv); the sheets go beside it.")],
    size: Annotated[
        str | None,
        typer.Option(
            help="Pooling size in voxels of the planned grid, or one for each axis. [default: 1/4 of the crop]"
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="True points, .csv with the columns image, landmark, y, x (z): accuracy.")
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(help="Look within the field of view: auto, none or a folder of masks. [default: the run's]"),
    ] = None,
    device: Device = "auto",
    weights: Weights = None,
    series: Annotated[str | None, typer.Option(help="Of DICOM queries, the series to take.")] = None,
    as_json: Json = False,
) -> None:
    """Find landmarks in images, given where they are in one image or a few."""
    from paucis.cli import render
    from paucis.options import convert
    from paucis.workflows.locate import locate as work

    with render.follow() as screen:
        done = work(
            run,
            queries,
            support=support,
            points=point,
            out=out,
            size=None if size is None else convert(size, tuple[int, ...], "--size"),
            truth=truth,
            field=field,
            device=device,
            weights=weights,
            series=series,
            progress=screen.progress,
        )
    render.out(json.dumps(_plain(done), indent=2) if as_json else _located(done))


def _plain(done: Any) -> dict[str, Any]:
    """What was found as JSON can hold it: what is undefined or infinite is null."""
    from paucis.cli import render

    def finite(values: dict[str, Any]) -> dict[str, Any]:
        return {name: None if value == math.inf else render.plain(value) for name, value in values.items()}

    rows = [finite(row._asdict()) for row in done.rows]
    accuracy = {name: finite(one._asdict()) for name, one in done.accuracy.items()}
    return {**render.plain(done), "rows": rows, "accuracy": accuracy}


def _located(done: Any) -> Any:
    """How sure the landmarks are, how often they were found where that is known, and where the files lie."""
    from statistics import median

    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from paucis.evaluation.landmarks import THRESHOLDS
    from paucis.evaluation.tables import number

    names = list(dict.fromkeys(row.landmark for row in done.rows))
    table = Table()
    for column in ("landmark", "images", "median confidence"):
        table.add_column(column, justify="left" if column == "landmark" else "right")
    for name in names:
        sure = [row.confidence for row in done.rows if row.landmark == name]
        table.add_row(Text(name), str(len(sure)), number(median(sure)))
    parts: list[Any] = [table]
    if done.unmarked:
        parts.append(Text(f"not looked for, since no support has them: {', '.join(done.unmarked)}"))
    if done.accuracy:
        found = Table(title="within a share of the pooling size, % of images")
        for column in ("landmark", "images", *(f"{threshold:g}" for threshold in THRESHOLDS), "median share"):
            found.add_column(column, justify="left" if column == "landmark" else "right")
        for name, one in done.accuracy.items():
            within = ["-" if math.isnan(share) else f"{100 * share:.1f}" for share in one.within]
            found.add_row(Text(name), str(one.images), *within, number(one.median))
        parts.append(found)
    size = ",".join(str(side) for side in done.window[0 if done.window[0] > 1 else 1 :])
    files = [("table", done.table), ("accuracy", done.accuracy_table), *(("sheet", sheet) for sheet in done.sheets)]
    lines = [f"pooling size {size}", *(f"{what}: {path}" for what, path in files if path is not None)]
    return Group(*parts, *(Text(line) for line in lines))
