"""What there is to choose from: methods, networks, plug-ins, recipes, with every option."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from paucis.options import describe
from paucis.registry import Registry


def entries(kind: str) -> list[dict[str, Any]]:
    """``[{"name", "summary", "options": [{"name", "type", "default", "meaning", "choices"}]}]`` of one kind.

    Args:
        kind: ``methods``, ``networks``, ``plugins``, ``recipes`` or ``settings`` (the run's own options).
    """
    if kind == "recipes":
        return _recipes()
    if kind == "settings":
        from paucis.engine.config import SECTIONS

        return [_entry(name, section, section) for name, section in SECTIONS.items()]
    return [_entry(name, cls, cls.Options) for name, cls in _registry(kind)]


def _registry(kind: str) -> Registry[Any]:
    if kind == "methods":
        from paucis.methods.base import METHODS

        return METHODS
    if kind == "networks":
        from paucis.networks.base import NETWORKS

        return NETWORKS
    from paucis.plugins.base import PLUGINS

    return PLUGINS


def _entry(name: str, documented: type[Any], options: type[Any]) -> dict[str, Any]:
    summary = (inspect.getdoc(documented) or "").split("\n\n")[0].replace("\n", " ")
    return {"name": name, "summary": summary, "options": [dataclasses.asdict(item) for item in describe(options)]}


def _recipes() -> list[dict[str, Any]]:
    from paucis.workflows.recipes import shipped

    return [
        {
            "name": recipe.name,
            "summary": recipe.description,
            "options": [
                {"name": key, "type": "", "default": value, "meaning": "", "choices": None}
                for key, value in recipe.values.items()
            ],
            "plugs": list(recipe.plugs),
        }
        for recipe in shipped()
    ]
