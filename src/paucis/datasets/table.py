"""The table of published datasets, as ``table.yaml`` holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

from paucis.errors import PaucisError
from paucis.registry import nearest


@dataclass(frozen=True)
class Protocol:
    """A way in which the literature uses a dataset.

    Attributes:
        name: what ``--protocol`` takes.
        about: what it does, and what of that a reader of its figures must know.
        split: a rule of ``paucis.datasets.splits``, or None: no split is written.
        steps: of ``paucis.datasets.steps``, in their order.
        options: arguments of the reader, over the dataset's.
        classes: name to value, where they are not the dataset's.
        channels: where they are not the dataset's.
        drop: names of scans that it leaves out, as regular expression; None drops none.
    """

    name: str
    about: str
    split: Mapping[str, Any] | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, int] | None = None
    channels: tuple[str, ...] | None = None
    drop: str | None = None


@dataclass(frozen=True)
class Published:
    """A dataset as its publisher distributes it.

    Attributes:
        name: what ``paucis prepare`` takes.
        title: in full.
        area: chapter of the documentation that it belongs to.
        home: where its publisher offers it.
        terms: on which it may be used, in short; the publisher's own text counts.
        citation: the article that its users are asked to cite.
        size: of the download, in words.
        layout: which files must lie in the folder, in words.
        verified: on which real files the reader was tried; empty: none.
        reader: function of ``paucis.datasets.readers``.
        classes: name to value in the labels; empty where the folder says it.
        channels: names; empty where the folder says it.
        expect: scans of a complete source; None where the folder says it.
        ids: names or patients that a complete source has; empty where they are not known.
        options: arguments of the reader.
        protocols: by name, the default first.
    """

    name: str
    title: str
    area: str
    home: str
    terms: str
    citation: str
    size: str
    layout: str
    reader: str
    protocols: tuple[Protocol, ...]
    verified: str = ""
    classes: Mapping[str, int] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    expect: int | None = None
    ids: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """What is known of the layout: tried on real files, or only as documented."""
        return f"tried on {self.verified}" if self.verified else "as documented by its publisher, unverified"

    def protocol(self, name: str | None) -> Protocol:
        """The protocol of that name, or the default.

        Raises:
            PaucisError: there is none of that name.
        """
        known = {protocol.name: protocol for protocol in self.protocols}
        if name is None:
            return self.protocols[0]
        if name not in known:
            raise PaucisError(
                f"{self.name} has no protocol '{name}'{nearest(name, list(known))} (protocols: {', '.join(known)})"
            )
        return known[name]


@cache
def shipped() -> Mapping[str, Published]:
    """All datasets of the table by name, in its order."""
    text = (resources.files("paucis") / "datasets" / "table.yaml").read_text(encoding="utf-8")
    return {name: _published(name, content) for name, content in yaml.safe_load(text).items()}


def names() -> list[str]:
    """What ``paucis prepare`` takes."""
    return list(shipped())


def find(name: str) -> Published:
    """The dataset of that name.

    Raises:
        PaucisError: there is none; names the nearest.
    """
    if name not in shipped():
        raise PaucisError(f"unknown dataset '{name}'{nearest(name, names())} (`paucis datasets` lists all)")
    return shipped()[name]


def expand(text: str) -> tuple[str, ...]:
    """``"im{01-03}L,x"`` as im01L, im02L, im03L and x."""
    found: list[str] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        ends = re.fullmatch(r"(.*)\{(\d+)-(\d+)\}(.*)", part)
        if ends is None:
            found.append(part)
            continue
        width = len(ends[2])
        found += [f"{ends[1]}{number:0{width}}{ends[4]}" for number in range(int(ends[2]), int(ends[3]) + 1)]
    return tuple(found)


def _published(name: str, content: dict[str, Any]) -> Published:
    protocols = tuple(_protocol(key, dict(value)) for key, value in content.pop("protocols").items())
    ids = expand(content.pop("ids", ""))
    channels = tuple(content.pop("channels", ()))
    words: dict[str, Any] = {
        key: " ".join(value.split()) if isinstance(value, str) else value for key, value in content.items()
    }
    return Published(name=name, protocols=protocols, ids=ids, channels=channels, **words)


def _protocol(name: str, content: dict[str, Any]) -> Protocol:
    about, steps, channels = content.pop("about"), tuple(content.pop("steps", ())), content.pop("channels", None)
    return Protocol(name, " ".join(about.split()), steps=steps, channels=channels and tuple(channels), **content)
