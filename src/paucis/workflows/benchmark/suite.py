"""A suite: which methods, budgets, seeds and folds on which kind of data, as a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from paucis.data.budget import read_budget
from paucis.errors import PaucisError
from paucis.files import read_text
from paucis.inference.options import PredictOptions
from paucis.methods.base import METHODS
from paucis.options import build, option
from paucis.registry import nearest
from paucis.workflows.benchmark.protocol import Protocol, read_protocol
from paucis.workflows.benchmark.rounds import Rounds, read_rounds

KEYS = (
    "description",
    "table",
    "needs",
    "notes",
    "dataset",
    "options",
    "methods",
    "exclude",
    "labels",
    "rounds",
    "seeds",
    "folds",
    "split",
    "reference",
    "evaluation",
    "predict",
    "published",
)
_TABLE = re.compile(r"^table: *(\S+)", re.MULTILINE)
OWNED = ("labels", "seed", "method", "network", "data.fold")
"""Options that a suite says by entries of its own, and so not among ``options``."""


@dataclass(frozen=True)
class Entry:
    """A row of the table: a method with a network and options of its own.

    Attributes:
        name: what the table calls it.
        method: registry name.
        network: registry name, or None for the suite's. An entry with its own takes none of the suite's ``network.*``.
        options: dotted key to value, over the suite's.
        plugs: plug-ins to carry.
        labels: budgets of its own in place of the suite's, or None.
        rule: of a suite with rounds, what chooses the scans to label next; else None.
    """

    name: str
    method: str
    network: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    plugs: tuple[str, ...] = ()
    labels: tuple[str | None, ...] | None = None
    rule: str | None = None


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured (``evaluation``)."""

    role: str = option(
        "auto", "cases of which part; auto = test where it has labels, else val", choices=("auto", "val", "test")
    )
    weights: str = option(
        "auto",
        "best by validation, or last; auto = best, and last where validation cases are what is evaluated",
        choices=("auto", "best", "last"),
    )
    convention: str = option(
        "strict", "literature adds figures by the published rules to the strict ones", choices=("strict", "literature")
    )
    tolerance_mm: float = option(1.0, "of the surface Dice", minimum=0.0)


@dataclass(frozen=True)
class Published:
    """Figures of a paper, shown beside the measured ones.

    Attributes:
        source: where they come from, and what differs.
        dice: percent by entry name.
    """

    source: str
    dice: dict[str, float]


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        name: stem of its file.
        description: one line.
        table: name by paper and table that it goes by as well, such as ``aua-I``; empty where it is of no paper.
        needs: what dataset it wants, for people.
        notes: what its readers must know.
        dataset: folder, where the suite names one.
        options: dotted key to value, common to all runs.
        network: registry name common to all, or None for the default.
        entries: rows of the table.
        labels: budgets; None is all.
        seeds: of the runs.
        folds: fold numbers; empty without folds.
        split: the protocol's own split, or None.
        reference: entry that the others are tested against, or None.
        evaluation: what is measured.
        predict: values of ``PredictOptions`` by name.
        published: figures of a paper, or None.
        rounds: how labels are added round by round, or None; the entries are rules then.
    """

    name: str
    description: str
    table: str
    needs: str
    notes: tuple[str, ...]
    dataset: Path | None
    options: dict[str, Any]
    network: str | None
    entries: tuple[Entry, ...]
    labels: tuple[str | None, ...]
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    split: Protocol | None
    reference: str | None
    evaluation: EvaluationOptions
    predict: dict[str, Any]
    published: Published | None
    rounds: Rounds | None = None


def shipped() -> list[str]:
    """Names of the suites in the package."""
    folder = resources.files("paucis") / "suites"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find(name: str | Path) -> Suite:
    """A shipped suite by its name or that of its table, or one in a file.

    Raises:
        PaucisError: no such suite, or a file that is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise PaucisError(f"{path}: no such suite file")
        return read(path.stem, read_text(path), path.parent)
    known = shipped()
    if str(name) not in known:
        tables = {found[1]: known_name for known_name in known if (found := _TABLE.search(_text(known_name)))}
        if str(name) not in tables:
            known += tables
            raise PaucisError(f"unknown suite '{name}'{nearest(str(name), known)} (`paucis suites` lists all)")
        name = tables[str(name)]
    return read(str(name), _text(str(name)))


def _text(name: str) -> str:
    return (resources.files("paucis") / "suites" / f"{name}.yaml").read_text(encoding="utf-8")


def entries() -> list[dict[str, Any]]:
    """``[{"name", "summary", "table", "needs", "labels", "seeds", "folds", "methods", "options"}]`` of all suites."""
    found = []
    for suite in map(find, shipped()):
        shared = {**({"network": suite.network} if suite.network else {}), **suite.options}
        found.append(
            {
                "name": suite.name,
                "summary": suite.description,
                "table": suite.table,
                "needs": suite.needs,
                "labels": [
                    "all" if labels is None else labels
                    for start in suite.labels
                    for labels in ([start] if suite.rounds is None else suite.rounds.all_labels(start))
                ],
                "seeds": list(suite.seeds),
                "folds": list(suite.folds),
                "methods": [entry.name for entry in suite.entries],
                "options": [{"name": key, "default": value} for key, value in shared.items()],
            }
        )
    return found


def read(name: str, text: str, folder: Path | None = None) -> Suite:
    """The suite that a YAML text holds.

    Args:
        name: of the suite.
        text: the YAML.
        folder: that a relative ``dataset`` starts from.

    Raises:
        PaucisError: not YAML, an unknown entry, method, reference or budget, or a wrong type; names the nearest.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PaucisError(f"suite '{name}' is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise PaucisError(f"suite '{name}' must hold 'methods' and what they share (entries: {', '.join(KEYS)})")
    try:
        return _read(name, content, folder)
    except PaucisError as error:
        raise PaucisError(f"suite '{name}': {error}") from error


def _read(name: str, content: dict[str, Any], folder: Path | None) -> Suite:
    _known(content, KEYS, "entry")
    options, predict = dict(_mapping(content, "options")), dict(_mapping(content, "predict"))
    network = options.pop("network", None)
    for key in OWNED:
        if key in options:
            remedy = {"seed": "seeds", "data.fold": "folds", "method": "methods"}.get(key, key)
            raise PaucisError(f"'{key}' does not go into 'options': write '{remedy}' beside it")
    build(PredictOptions, predict, "predict.")
    entries = _entries(content)
    labels = _budgets(_list(content, "labels", [None]))
    rounds = read_rounds(content["rounds"]) if content.get("rounds") is not None else None
    if rounds is not None:
        entries = _ruled(entries, labels, rounds)
    names = [entry.name for entry in entries]
    usual = "supervised" if rounds is None else "foreground"
    reference = content.get("reference", usual if usual in names else None)
    if reference is not None and reference not in names:
        raise PaucisError(f"reference '{reference}' is none of its methods{nearest(str(reference), names)}")
    return Suite(
        name=name,
        description=" ".join(str(content.get("description", "")).split()),
        table=str(content.get("table", "")),
        needs=" ".join(str(content.get("needs", "")).split()),
        notes=tuple(" ".join(str(note).split()) for note in _list(content, "notes", [])),
        dataset=_dataset(content, folder),
        options=options,
        network=network,
        entries=entries,
        labels=labels,
        seeds=_numbers(content, "seeds", [0]),
        folds=_numbers(content, "folds", []),
        split=read_protocol(content["split"]) if content.get("split") is not None else None,
        reference=reference,
        evaluation=build(EvaluationOptions, dict(_mapping(content, "evaluation")), "evaluation."),
        predict=predict,
        published=_published(_mapping(content, "published"), names),
        rounds=rounds,
    )


def _entries(content: Mapping[str, Any]) -> tuple[Entry, ...]:
    listed = content.get("methods")
    if not listed:
        raise PaucisError("names no 'methods': list some, or write 'methods: all'")
    given = [listed] if isinstance(listed, str | dict) else listed
    excluded = [str(name) for name in _list(content, "exclude", [])]
    for name in excluded:
        METHODS.get(name)
    entries: dict[str, Entry] = {}
    for item in given:
        if item == "all":
            segmenting = [name for name, kind in METHODS if kind.uses_labeled]
            entries |= {name: Entry(name, name) for name in segmenting if name not in excluded}
            continue
        entry = _entry(item)
        if entry.name in entries and "all" not in given:
            raise PaucisError(f"two methods go by the name '{entry.name}': give one of them another 'name'")
        entries[entry.name] = entry
    return tuple(entries.values())


def _ruled(entries: Sequence[Entry], labels: Sequence[str | None], rounds: Rounds) -> tuple[Entry, ...]:
    """A row for each rule in place of the one method that they train."""
    if len(entries) != 1 or entries[0].labels is not None:
        raise PaucisError("'rounds' compare rules for one method: list a single one, without labels of its own")
    if len(labels) != 1 or labels[0] is None:
        raise PaucisError("'rounds' start from one budget: write it as 'labels', such as labels: 2")
    return tuple(replace(entries[0], name=rule, rule=rule) for rule in rounds.rules)


def _entry(item: Any) -> Entry:
    if isinstance(item, str):
        METHODS.get(item)
        return Entry(item, item)
    if not isinstance(item, dict):
        raise PaucisError(f"method '{item}' is neither a name nor {{name, method, network, options, plugs, labels}}")
    _known(item, ("name", "method", "network", "options", "plugs", "labels"), "entry of a method")
    name = str(item.get("name", item.get("method", "")))
    method = str(item.get("method", name))
    METHODS.get(method)
    labels = _budgets(_list(item, "labels", [])) if item.get("labels") is not None else None
    plugs = tuple(str(plug) for plug in _list(item, "plugs", []))
    return Entry(name, method, item.get("network"), dict(_mapping(item, "options")), plugs, labels)


def _budgets(values: Sequence[Any]) -> tuple[str | None, ...]:
    budgets = tuple(None if value in (None, "all") else str(value) for value in values)
    for budget in budgets:
        read_budget(budget)
    if len(set(budgets)) != len(budgets):
        raise PaucisError("lists a budget twice in 'labels'")
    return budgets


def _numbers(content: Mapping[str, Any], key: str, default: list[int]) -> tuple[int, ...]:
    values = _list(content, key, default)
    wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, int) or value < 0]
    if wrong or len(set(values)) != len(values):
        raise PaucisError(f"'{key}' must list different whole numbers from 0")
    return tuple(values)


def _dataset(content: Mapping[str, Any], folder: Path | None) -> Path | None:
    if content.get("dataset") is None:
        return None
    path = Path(str(content["dataset"])).expanduser()
    return path if folder is None else folder / path


def _published(content: Mapping[str, Any], names: Sequence[str]) -> Published | None:
    if not content:
        return None
    _known(content, ("source", "dice"), "entry of 'published'")
    dice = {str(name): value for name, value in _mapping(content, "dice").items()}
    for name, value in dice.items():
        if name not in names:
            raise PaucisError(f"'published' names '{name}', which is none of its methods{nearest(name, list(names))}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PaucisError(f"published Dice of '{name}' must be a number in percent")
    if not content.get("source"):
        raise PaucisError("'published' must say its 'source'")
    return Published(" ".join(str(content["source"]).split()), {name: float(value) for name, value in dice.items()})


def _known(content: Mapping[str, Any], allowed: Sequence[str], what: str) -> None:
    for key in content:
        if key not in allowed:
            raise PaucisError(
                f"unknown {what} '{key}'{nearest(str(key), list(allowed))} (there are: {', '.join(allowed)})"
            )


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise PaucisError(f"'{key}' must hold lines of the form name: value")
    return value


def _list(content: Mapping[str, Any], key: str, default: list[Any]) -> list[Any]:
    value = content.get(key, default)
    return value if isinstance(value, list) else [value]
