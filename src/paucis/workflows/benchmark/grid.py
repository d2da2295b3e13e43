"""From a suite to its runs: every method x budget x fold x seed with its resolved configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from paucis.engine.config import Config, resolve
from paucis.errors import PaucisError
from paucis.methods.base import METHODS
from paucis.networks.base import NETWORKS
from paucis.plugins.base import PLUGINS
from paucis.registry import nearest
from paucis.workflows.benchmark.rounds import START
from paucis.workflows.benchmark.suite import OWNED, Entry, Suite


@dataclass(frozen=True)
class Job:
    """One run to be done.

    Attributes:
        entry: its row of the table.
        labels: budget; None is all. Of a suite with rounds ``START + ADDED``.
        seed: of the run.
        fold: its number, or None without folds.
        config: everything it can be told, resolved.
        round: of a suite with rounds, how often labels were added before; else 0.
    """

    entry: Entry
    labels: str | None
    seed: int
    fold: int | None
    config: Config
    round: int = 0

    @property
    def name(self) -> str:
        """Its row, or what the first runs of all rules have in common."""
        return START if self.entry.rule and self.round == 0 else self.entry.name

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.name}, {self.labels or 'all'} labels{fold}, seed {self.seed}"


def expand(
    suite: Suite, dataset: str | Path = "DATASET", overrides: Mapping[str, Any] | None = None, split: Path | None = None
) -> list[Job]:
    """All runs of a suite: every method once (first seed, first fold) before any is repeated.

    Args:
        suite: the suite.
        dataset: folder; its content is not looked at here.
        overrides: dotted key to value, over what suite and methods say.
        split: file of the protocol's split; used unless the overrides name another.

    Raises:
        PaucisError: an unknown network, plug-in or option, in one line that names the suite and the row.
    """
    given = dict(overrides or {})
    for key in given:
        if key in OWNED and key != "network":
            raise PaucisError(f"'{key}' is fixed by the suite '{suite.name}': copy the suite and change it there")
    jobs = []
    for seed in suite.seeds:
        for fold in suite.folds or (None,):
            for labels, number in product(_all_budgets(suite), range(suite.rounds.number + 1 if suite.rounds else 1)):
                for entry in suite.entries:
                    if labels in (suite.labels if entry.labels is None else entry.labels):
                        config = _config(suite, entry, given, (dataset, labels, seed, fold, split))
                        shown = suite.rounds.labels(labels, number) if suite.rounds else labels
                        jobs.append(Job(entry, shown, seed, fold, config, number))
    return jobs


def chosen(suite: Suite, only: Sequence[str]) -> tuple[str, ...]:
    """Names of the entries that ``--only`` means: by entry or by method; all where nothing is asked.

    Raises:
        PaucisError: a name that is neither.
    """
    names = {entry.name: entry.method for entry in suite.entries}
    for name in only:
        if name not in names and name not in names.values():
            allowed = list(dict.fromkeys([*names, *names.values()]))
            raise PaucisError(f"suite '{suite.name}' has no method '{name}'{nearest(name, allowed)}")
    return tuple(name for name, method in names.items() if not only or name in only or method in only)


def _all_budgets(suite: Suite) -> list[str | None]:
    extra = [labels for entry in suite.entries for labels in entry.labels or ()]
    return list(dict.fromkeys([*suite.labels, *extra]))


def _config(suite: Suite, entry: Entry, overrides: Mapping[str, Any], place: tuple[Any, ...]) -> Config:
    dataset, labels, seed, fold, split = place
    network = overrides.get("network") or entry.network or suite.network
    common, own = dict(suite.options), dict(entry.options)
    if entry.network is not None:
        common = _without_network(common)
    if "network" in overrides and overrides["network"] != (entry.network or suite.network):
        common, own = _without_network(common), _without_network(own)
    values = {**common, **own, **overrides, "method": entry.method, "seed": seed}
    values |= {"network": network} if network else {}
    values |= {"labels": labels} if labels is not None else {}
    values |= {"data.fold": fold} if fold is not None else {}
    if split is not None and "data.split" not in overrides and "data.folds" not in overrides:
        values["data.split"] = str(split)
    try:
        METHODS.get(entry.method)
        NETWORKS.get(network or Config.network)
        for plug in entry.plugs:
            PLUGINS.get(plug)
        return resolve(dataset, values, entry.plugs)
    except PaucisError as error:
        raise PaucisError(f"suite '{suite.name}', {entry.name}: {error}") from error


def _without_network(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if not key.startswith("network.")}
