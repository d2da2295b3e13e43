"""The command that tells which scans to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paucis.cli.parameters import Device, Json, Run, Weights


def suggest(
    run: Run,
    pool: Annotated[Path, typer.Argument(help="A dataset, or a folder of scans without labels.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Options of prediction, such as predict.dropout=20."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many scans to choose.")] = ...,  # type: ignore[assignment]
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Table (.csv); the sheet goes beside it, with a folder of pictures.")
    ] = ...,  # type: ignore[assignment]
    rule: Annotated[
        str, typer.Option(help="random, foreground, entropy, mutual_information or core_set.")
    ] = "foreground",
    also: Annotated[list[Path] | None, typer.Option(help="A further run of an ensemble; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the lots that random and foreground draw.")] = 0,
    one_per_patient: Annotated[
        bool, typer.Option("--one-per-patient", help="Of no patient more than one, labeled ones counted.")
    ] = False,
    group: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a case name. [default: the run's]")
    ] = None,
    device: Device = "auto",
    weights: Weights = None,
    series: Annotated[str | None, typer.Option(help="Of DICOM, the series to take. [default: the run's]")] = None,
    as_json: Json = False,
) -> None:
    """Choose the scans to label next, never one that is labeled or held out, with a picture of each."""
    import json

    from paucis.cli import render
    from paucis.options import parse_overrides
    from paucis.workflows.suggest import suggest as work

    with render.follow() as screen:
        done = work(
            run,
            pool,
            count=count,
            out=out,
            rule=rule,
            also=tuple(also or ()),
            seed=seed,
            group=group,
            one_per_patient=one_per_patient,
            options=parse_overrides(overrides or []),
            device=device,
            weights=weights,
            series=series,
            progress=screen.progress,
        )
    render.out(json.dumps(_plain(done), indent=2) if as_json else _suggested(done))


def _plain(done: Any) -> dict[str, Any]:
    """What was chosen as JSON can hold it."""
    from paucis.cli import render

    return {**render.plain(done), "suggestions": [render.plain(one._asdict()) for one in done.suggestions]}


def _suggested(done: Any) -> Any:
    """The suggestions, by what they were chosen, and where the files lie."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from paucis.evaluation.suggestion import RULES
    from paucis.evaluation.tables import number

    table = Table()
    for column in ("rank", "case", "score"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for one in done.suggestions:
        table.add_row(str(one.rank), Text(one.case), number(one.score))
    rule = done.suggestions[0].rule
    lines = [f"{len(done.suggestions)} of {done.pool} scans, chosen {RULES[rule]}"]
    if done.left_out:
        lines.append(f"{done.left_out} scans are labeled or held out in the run, or of such a patient: left out")
    lines += [f"table: {done.table}", f"sheet: {done.sheet}", f"pictures: {done.pictures}"]
    return Group(table, *(Text(line) for line in lines))
