"""The commands that list what there is."""

from __future__ import annotations

import json
from typing import Any

from paucis.cli.parameters import Json


def methods(as_json: Json = False) -> None:
    """List the methods with every option, its meaning and default."""
    _list("methods", as_json)


def networks(as_json: Json = False) -> None:
    """List the networks with every option, its meaning and default."""
    _list("networks", as_json)


def plugins(as_json: Json = False) -> None:
    """List the plug-ins with every option, its meaning and default."""
    _list("plugins", as_json)


def recipes(as_json: Json = False) -> None:
    """List the recipes with what they set."""
    _list("recipes", as_json)


def settings(as_json: Json = False) -> None:
    """List the options of every training that belong to no method: data, augment, train, optimizer ..."""
    _list("settings", as_json)


def suites(as_json: Json = False) -> None:
    """List the benchmark suites: what they compare, on which data, with which options."""
    from paucis.cli import render
    from paucis.workflows.benchmark.suite import entries

    found = entries()
    render.out(json.dumps(found, indent=2) if as_json else render.suites(found))


def datasets(as_json: Json = False) -> None:
    """List the published datasets: what they hold, on which terms, and how `paucis prepare` brings them in."""
    from paucis.cli import published, render
    from paucis.datasets import shipped

    found = shipped().values()
    render.out(json.dumps([published.entry(one) for one in found], indent=2) if as_json else published.listed(found))


def _list(kind: str, as_json: bool) -> None:
    from paucis.cli import render
    from paucis.workflows.catalog import entries

    found: list[dict[str, Any]] = entries(kind)
    render.out(json.dumps(found, indent=2) if as_json else render.entries(found))
