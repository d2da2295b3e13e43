"""The commands."""

from __future__ import annotations

from typing import Annotated

import typer

from paucis.cli import (
    benchmarking,
    discovering,
    features,
    folders,
    judging,
    listing,
    locating,
    predicting,
    reporting,
    suggesting,
    training,
)

app = typer.Typer(
    name="paucis",
    help="Segment medical images from few labels, know where the model is unsure, and choose which scan to label next.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
) -> None:
    if version:
        from paucis import __version__

        typer.echo(__version__)
        raise typer.Exit


for _command in (
    folders.check,
    training.train,
    training.pretrain,
    discovering.discover,
    features.similarity,
    locating.locate,
    predicting.predict,
    predicting.evaluate,
    features.embed,
    benchmarking.benchmark,
    folders.prepare,
    folders.phantom,
    judging.compare,
    judging.reliability,
    judging.calibrate,
    judging.review,
    suggesting.suggest,
    reporting.report,
    listing.methods,
    listing.networks,
    listing.plugins,
    listing.recipes,
    listing.suites,
    listing.datasets,
    listing.settings,
):
    app.command()(_command)
