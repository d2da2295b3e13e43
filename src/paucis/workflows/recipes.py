"""Recipes: rows of the papers' tables (and small runs of our own) as YAML files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.registry import nearest

ENTRIES = ("description", "options", "plugs")


@dataclass(frozen=True)
class Recipe:
    """One recipe.

    Attributes:
        name: its name.
        description: one line.
        values: dotted key to value, as on the command line.
        plugs: plug-ins it carries.
    """

    name: str
    description: str
    values: dict[str, Any]
    plugs: tuple[str, ...] = ()


def shipped() -> list[Recipe]:
    """All recipes in the package, by name."""
    folder = resources.files("paucis") / "recipes"
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return [_read(name.removesuffix(".yaml"), (folder / name).read_text(encoding="utf-8")) for name in files]


def find(name: str) -> Recipe:
    """A shipped recipe by name, one in a file, or a row of a suite as ``SUITE:ROW`` (``aua-I:dtc``).

    Raises:
        PaucisError: no such recipe, or the file is not one.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise PaucisError(f"{path}: no such recipe file")
        return _read(path.stem, read_text(path))
    suite, colon, row = name.partition(":")
    if colon:
        return _row(suite, row)
    recipes = {recipe.name: recipe for recipe in shipped()}
    if name not in recipes:
        raise PaucisError(f"unknown recipe '{name}'{nearest(name, list(recipes))} (`paucis recipes` lists all)")
    return recipes[name]


def _row(suite_name: str, row: str) -> Recipe:
    """One training of a suite's row, with its first budget; the split is the one that the dataset ships."""
    from paucis.workflows.benchmark.suite import find as find_suite

    suite = find_suite(suite_name)
    entries = {entry.name: entry for entry in suite.entries}
    if row not in entries:
        raise PaucisError(f"suite '{suite.name}' has no row '{row}'{nearest(row, list(entries))}")
    entry = entries[row]
    common = {key: value for key, value in suite.options.items() if not (entry.network and key.startswith("network."))}
    values = {**common, **entry.options, "method": entry.method}
    network, labels = entry.network or suite.network, (entry.labels or suite.labels)[0]
    values |= ({"network": network} if network else {}) | ({"labels": labels} if labels is not None else {})
    figure = suite.published.dice.get(row) if suite.published else None
    beside = f" Published Dice: {figure:.2f} %." if figure is not None else ""
    return Recipe(f"{suite.name}:{row}", f"{entry.name}: {suite.description}{beside}", values, entry.plugs)


def _read(name: str, text: str) -> Recipe:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PaucisError(f"recipe '{name}' is not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("options", {}), dict):
        raise PaucisError(f"recipe '{name}' must hold 'description' and 'options' (dotted key: value)")
    for key in content:
        if key not in ENTRIES:
            raise PaucisError(
                f"recipe '{name}': unknown entry '{key}'{nearest(str(key), list(ENTRIES))} "
                f"(there are: {', '.join(ENTRIES)})"
            )
    plugs = content.get("plugs") or []
    if not isinstance(plugs, list):
        raise PaucisError(f"recipe '{name}': 'plugs' must be a list of plug-ins")
    return Recipe(name, str(content.get("description", "")), dict(content.get("options", {})), tuple(map(str, plugs)))
