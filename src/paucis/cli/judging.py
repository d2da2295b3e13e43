"""Commands that judge results: one set against another, and what a prediction says of its own doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paucis.cli.parameters import Device, Json, Run, Weights


def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Tables or folders of `paucis evaluate`, folders of masks, or runs; the reference first."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = ...,  # type: ignore[assignment]
    labels: Annotated[
        Path | None, typer.Option(help="Dataset or reference masks: for runs, masks not evaluated yet, and pictures.")
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="What a set is called; once for each, in order.")] = None,
    reference: Annotated[str | None, typer.Option(help="Name of the reference. [default: the first]")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="May be repeated. [default: dice, surface_dice, hd95]")
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="Show this case side by side; may be repeated.")] = None,
    tie: Annotated[float, typer.Option(help="Largest difference that counts as a tie.")] = 0.0,
    partial: Annotated[bool, typer.Option("--partial", help="Accept cases that only some sets have.")] = False,
    role: Annotated[
        str | None, typer.Option(help="Of runs, the part of their split to predict. [default: test, else val]")
    ] = None,
    convention: Annotated[str, typer.Option(help="Empty masks and units: strict or literature.")] = "strict",
    device: Annotated[str, typer.Option(help="Of runs that predict: auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Json = False,
) -> None:
    """Compare sets of results case by case: paired tests, intervals, wins and losses, masks side by side."""
    from paucis.cli import render
    from paucis.workflows.compare import compare as work

    with render.follow() as screen:
        done = work(
            sources,
            out=out,
            labels=labels,
            names=tuple(name or ()),
            reference=reference,
            metrics=tuple(metric or ()),
            cases=tuple(case or ()),
            tie=tie,
            partial=partial,
            role=role,
            convention=convention,
            device=device,
            progress=screen.progress,
        )
    render.out((done.out / "comparison.json").read_text().rstrip() if as_json else _compared(done))


def reliability(
    predictions: Annotated[Path, typer.Argument(help="Folder that `paucis predict` wrote.")],
    labels: Annotated[Path, typer.Argument(help="Folder of reference masks, or a dataset.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="[default: PREDICTIONS/reliability]")] = None,
    group: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a case name, for the intervals.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Of labels in a DICOM dataset, the series to take.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept labels without a prediction.")] = False,
    as_json: Json = False,
) -> None:
    """Measure calibration and error detection of a prediction: ECE, ACE, Brier, AUROC, risk and coverage."""
    from paucis.cli import render
    from paucis.workflows.reliability import reliability as work

    with render.follow() as screen:
        done = work(
            predictions,
            labels,
            out=out,
            group=group,
            series=series,
            partial=partial,
            progress=lambda done, total: screen.progress("measuring", done, total),
        )
    render.out((done.out / "reliability.json").read_text().rstrip() if as_json else _reliable(done))


def calibrate(
    run: Run,
    dataset: Annotated[Path, typer.Argument(help="Dataset with labels.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Options of prediction, such as predict.flips=true."),
    ] = None,
    role: Annotated[
        str, typer.Option(help="Cases of the run's split: val or test; all: every labeled case not trained on.")
    ] = "val",
    also: Annotated[list[Path] | None, typer.Option(help="A further run of an ensemble; may be repeated.")] = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Fit a temperature that makes a run as sure as it is right; `predict` takes it with predict.temperature=saved."""
    import json

    from paucis.cli import render
    from paucis.options import parse_overrides
    from paucis.workflows.calibrate import calibrate as work

    with render.follow() as screen:
        done = work(
            run,
            dataset,
            also=tuple(also or ()),
            role=role,
            options=parse_overrides(overrides or []),
            device=device,
            weights=weights,
            progress=lambda done, total: screen.progress("predicting", done, total),
        )
    render.out(json.dumps(render.plain(done), indent=2) if as_json else _calibrated(done))


def review(
    predictions: Annotated[Path, typer.Argument(help="Folder that `paucis predict` wrote.")],
    by: Annotated[str, typer.Option(help="score, confidence, entropy, or interval (of the volume).")] = "score",
    show: Annotated[int, typer.Option(help="Cases in the picture and on the screen.")] = 6,
    shown_map: Annotated[str, typer.Option("--map", help="Uncertainty map in the picture.")] = "entropy",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="[default: PREDICTIONS/review]")] = None,
    as_json: Json = False,
) -> None:
    """Rank the cases of a prediction for a second look, without references, with pictures of their doubts."""
    import json

    from paucis.cli import render
    from paucis.workflows.review import review as work

    done = work(predictions, by=by, show=show, shown_map=shown_map, out=out)
    render.out(json.dumps(render.plain(done), indent=2) if as_json else _reviewed(done, show))


def _reliable(done: Any) -> Any:
    """Tables of calibration and of error detection, how far the structures' scores hold, the notes, the files."""
    from rich.console import Group
    from rich.text import Text

    from paucis.evaluation.reliability.tables import errors_of, table_of

    parts: list[Any] = [_table(*table_of(done.summary)), _table(*errors_of(done.summary))]
    if done.structures:
        head = ["structure", "n", "volume in interval", "score ~ Dice", "1 - Dice", "AURC", "AURC least"]
        keys = ("inside", "spearman", "risk", "aurc", "aurc_least")
        body = [
            [name, str(found["structures"]), *("-" if found[key] is None else f"{found[key]:.3f}" for key in keys)]
            for name, found in done.structures.items()
        ]
        parts.append(_table(head, body))
    files = [f"tables: {done.out}", f"picture: {done.out / 'reliability.png'}"]
    return Group(*parts, *(Text(line) for line in (*done.notes, *files)))


def _calibrated(done: Any) -> str:
    """The temperature, what it changes, and how to use it."""
    fit, (before, after) = done.fit, done.ece
    lines = [
        f"temperature {fit.temperature:.4g}, fitted on {done.voxels} voxels of {len(done.cases)} cases",
        f"negative log-likelihood {fit.before:.4f} -> {fit.after:.4f}, ECE {before:.4f} -> {after:.4f} (same voxels)",
    ]
    if done.saved is None:
        lines.append(f"not saved, for it is of several runs; predict with predict.temperature={fit.temperature:.4g}")
    else:
        lines.append(f"saved: {done.saved}; predict with predict.temperature=saved")
    return "\n".join(lines)


def _reviewed(done: Any, show: int) -> Any:
    """The first cases, and where the files lie."""
    from rich.console import Group
    from rich.text import Text

    from paucis.evaluation.review import RULES
    from paucis.evaluation.tables import number

    body = []
    for rank, figure, one in done.ranked[:show]:
        low, high = number(one.figures["volume_low"]), number(one.figures["volume_high"])
        volume = f"{number(one.figures['volume'])} [{low}, {high}]"
        body.append([str(rank), one.case, one.name, number(figure), volume])
    unit = "mL" if done.ranked[0].structure.unit == "ml" else "pixels"
    parts: list[Any] = [_table(["rank", "case", "structure", done.by, f"volume, {unit}"], body)] if body else []
    lines = [f"{len(done.ranked)} cases by {RULES[done.by]}", f"table: {done.out / 'review.csv'}"]
    lines += [f"pictures: {done.picture}"] if done.picture else []
    return Group(*parts, *(Text(line) for line in lines))


def _table(head: list[str], body: list[list[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, column in enumerate(head):
        table.add_column(column, justify="left" if number < 2 else "right")
    for line in body:
        table.add_row(*map(Text, line))
    return table


def _compared(done: Any) -> Any:
    """A table of lines, the notes, and where the files lie."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from paucis.evaluation.comparison.tables import cells, heading

    parts: list[Any] = []
    for metric in dict.fromkeys(line.metric for line in done.lines):
        table = Table(title=f"{heading(metric, done.unit)}, against {done.reference}", title_justify="left")
        for column in ("class", "set", "n", "mean", "reference", "difference", "p", "p (Holm)", "win / tie / loss"):
            table.add_column(column, justify="left" if column in ("class", "set") else "right")
        for line in done.lines:
            if line.metric == metric:
                table.add_row(*map(Text, cells(line)))
        parts.append(table)
    files = [f"tables: {done.out}", f"differences: {done.out / 'differences.png'}"]
    files += [f"side by side: {done.masks}"] if done.masks else []
    return Group(*parts, *(Text(line) for line in (*done.notes, *files)))
