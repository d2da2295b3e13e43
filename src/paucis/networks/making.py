"""A network from its name and options."""

from __future__ import annotations

import dataclasses
from typing import Any

from paucis.batch import Task
from paucis.networks.base import NETWORKS, Network
from paucis.networks.weights import load_weights
from paucis.options import build


def make(name: str, task: Task, values: dict[str, Any], *, initial: bool = True) -> Network:
    """A network, its initial weights loaded.

    Args:
        name: a registered name, or ``module:Name``.
        task: the task.
        values: options by name; text is read as the option's type.
        initial: False when a run's own weights will follow: neither ``weights`` nor ``pretrained`` is looked up then.

    Raises:
        PaucisError: no such network, an option that does not exist or fit, or a file of weights that does not fit.
    """
    kind = NETWORKS.get(name)
    options = build(kind.Options, values, "network.")
    if not initial:
        options = without_initial_weights(options)
    network = kind(task, options)
    weights = getattr(options, "weights", None)
    if weights is not None:
        load_weights(network, weights)
    return network


def without_initial_weights(options: Any) -> Any:
    """The options with ``weights`` and ``pretrained`` at none, where they exist."""
    names = {field.name for field in dataclasses.fields(options)}
    none = {"weights": None, "pretrained": "none"}
    return dataclasses.replace(options, **{name: value for name, value in none.items() if name in names})
