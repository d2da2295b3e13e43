"""The commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from paucis.cli import judging, pretraining, reporting, suggesting

app = typer.Typer(
    name="paucis",
    help="Segment medical images from few labels, know where the model is unsure, and choose which scan to label next.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Options by dotted name, such as train.steps=300."),
]
Series = Annotated[
    str | None,
    typer.Option(
        help="Of DICOM, the series to take: as `check` lists it, or modality=, description=, number=, largest."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output, nothing else.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
) -> None:
    if version:
        from paucis import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="Folder of scans.")],
    overrides: Overrides = None,
    series: Series = None,
    as_json: Json = False,
) -> None:
    """Tell what a folder of scans holds, and every problem with its remedy."""
    from paucis.cli import render
    from paucis.cli.checked import checked
    from paucis.data.options import DataOptions, cache_home
    from paucis.data.problems import refuse
    from paucis.options import build
    from paucis.workflows.check import check_dataset

    data = build(DataOptions, _section(overrides, "data"), "data.")
    with render.progress() as progress:
        chosen = series or data.series
        report = check_dataset(dataset, group=data.group, series=chosen, store=cache_home(data), progress=progress)
    render.out(json.dumps(report.as_dict(), indent=2) if as_json else checked(report))
    refuse(report.problems, "see above")


@app.command()
def train(
    dataset: Annotated[str | None, typer.Argument(help="Folder of scans; may be left out with --resume.")] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = ...,  # type: ignore[assignment]
    method: Annotated[str | None, typer.Option(help="`paucis methods` lists all. [default: supervised]")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labeled cases (or groups): a count, a percentage (10%), or a list file.")
    ] = None,
    plug: Annotated[list[str] | None, typer.Option(help="Plug-in to carry; may be repeated.")] = None,
    init: Annotated[Path | None, typer.Option(help="Run folder or weights file to start the network from.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="`paucis recipes` lists all; a row of a suite, SUITE:ROW; or a YAML file.")
    ] = None,
    series: Series = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    stage: Annotated[str | None, typer.Option(help="Of a method with several stages, train this one alone.")] = None,
    from_stage: Annotated[
        str | None, typer.Option(help="Of the run in --out, train this stage and all after it anew.")
    ] = None,
) -> None:
    """Train a method on a dataset, of which few cases are labeled."""
    from paucis.cli import render
    from paucis.options import parse_overrides
    from paucis.workflows.train import Hooks
    from paucis.workflows.train import train as run

    given = list(overrides or [])
    if dataset is not None and "=" in dataset and not Path(dataset).exists():
        given, dataset = [dataset, *given], None
    with render.follow() as screen:
        trained = run(
            dataset,
            out=out,
            method=method,
            labels=labels,
            plugs=tuple(plug or ()),
            init=init,
            recipe=recipe,
            resume=resume,
            stage=stage,
            from_stage=from_stage,
            options=parse_overrides(given if series is None else [*given, f"data.series={series}"]),
            hooks=Hooks(screen.tell, screen.progress, screen.report),
        )
    render.out(render.trained(trained))
    if not trained.finished:
        raise typer.Exit(130)


app.command()(pretraining.pretrain)
app.command()(pretraining.similarity)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    scans: Annotated[Path, typer.Argument(help="A scan, or a folder of scans.")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the masks and maps.")] = ...,  # type: ignore[assignment]
    also: Annotated[list[Path] | None, typer.Option(help="A further run of an ensemble; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[str | None, typer.Option(help="best or last. [default: best where validated]")] = None,
    role: Annotated[
        str | None, typer.Option(help="Of a dataset, only the cases of this role in the run's split: val, test ...")
    ] = None,
    series: Series = None,
    form: Annotated[
        str, typer.Option("--format", help="Masks in each scan's own format (DICOM: NIfTI), or dicom-seg.")
    ] = "own",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write class probabilities as maps too.")
    ] = False,
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
            options=_section(overrides, "predict"),
            device=device,
            weights=weights,
            role=role,
            series=series,
            form=form,
            save_probabilities=probabilities,
            progress=lambda done, total: screen.progress("predicting", done, total),
        )
    render.out(render.predicted(done))


@app.command()
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


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    images: Annotated[Path, typer.Argument(help="A dataset, a folder of scans, or a scan.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture (.png); the points go beside it as .csv.")] = ...,  # type: ignore[assignment]
    per_class: Annotated[int, typer.Option(help="Pixels of each class, of all scans together.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the choice of pixels and of the projection.")] = 0,
    role: Annotated[
        str | None, typer.Option(help="Only the cases of this role in the run's split: val, test, labeled, unlabeled.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[str | None, typer.Option(help="best or last. [default: best where validated]")] = None,
    as_json: Json = False,
) -> None:
    """Draw pixel features in two dimensions (t-SNE) by class, correctness and uncertainty."""
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


@app.command()
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

    given = list(overrides or [])
    if dataset is not None and "=" in dataset and not Path(dataset).exists():
        given, dataset = [dataset, *given], None
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


@app.command()
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


@app.command()
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


for _command in (judging.compare, judging.reliability, judging.calibrate, judging.review, suggesting.suggest):
    app.command()(_command)
app.command()(reporting.report)


def _section(overrides: list[str] | None, section: str) -> dict[str, Any]:
    """The options of the one section that a command takes, without its name before them."""
    from paucis.errors import PaucisError
    from paucis.options import parse_overrides
    from paucis.registry import nearest

    values = parse_overrides(overrides or [])
    for key in values:
        if key.partition(".")[0] != section:
            raise PaucisError(
                f"unknown option '{key}'{nearest(key, [section + '.'])}: only {section}.* options go here"
            )
    return {key.partition(".")[2]: value for key, value in values.items()}


def _list(kind: str, as_json: bool) -> None:
    from paucis.cli import render
    from paucis.workflows.catalog import entries

    found: list[dict[str, Any]] = entries(kind)
    render.out(json.dumps(found, indent=2) if as_json else render.entries(found))


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods with every option, its meaning and default."""
    _list("methods", as_json)


@app.command()
def networks(as_json: Json = False) -> None:
    """List the networks with every option, its meaning and default."""
    _list("networks", as_json)


@app.command()
def plugins(as_json: Json = False) -> None:
    """List the plug-ins with every option, its meaning and default."""
    _list("plugins", as_json)


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes with what they set."""
    _list("recipes", as_json)


@app.command()
def suites(as_json: Json = False) -> None:
    """List the benchmark suites: what they compare, on which data, with which options."""
    from paucis.cli import render
    from paucis.workflows.benchmark.suite import entries

    found = entries()
    render.out(json.dumps(found, indent=2) if as_json else render.suites(found))


@app.command()
def datasets(as_json: Json = False) -> None:
    """List the published datasets: what they hold, on which terms, and how `paucis prepare` brings them in."""
    from paucis.cli import published, render
    from paucis.datasets import shipped

    found = shipped().values()
    render.out(json.dumps([published.entry(one) for one in found], indent=2) if as_json else published.listed(found))


@app.command()
def settings(as_json: Json = False) -> None:
    """List the options of every training that belong to no method: data, augment, train, optimizer ..."""
    _list("settings", as_json)
