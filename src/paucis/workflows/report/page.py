"""The page of a report: what stands in it, and the template that it is poured into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader

from paucis.evaluation.pictures.layers import GLOW, color_of
from paucis.workflows.report.gallery import Shown
from paucis.workflows.report.tables import Table

GENERATOR = "paucis report"
"""By which a file is known to be a report."""


@dataclass(frozen=True)
class Folded:
    """What is read on demand: tables and charts under a title that opens."""

    title: str
    tables: list[Table] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: that links lead to.
        title: its heading.
        above: sentences.
        tables: below them.
        charts: SVG elements below the tables.
        folded: what is read on demand.
        notes: small print.
    """

    name: str
    title: str
    above: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    folded: list[Folded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """All of it.

    Attributes:
        title: of the report.
        lead: the sentence to remember.
        made: when, and by which version.
        sections: in order; that of the name ``gallery`` holds the pictures.
        foot: the last sentence.
        gallery: of ``gallery_data``.
    """

    title: str
    lead: str
    made: str
    sections: list[Section]
    foot: str
    gallery: dict[str, Any]


def gallery_data(cases: Sequence[Shown], runs: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """What the page's script reads.

    Args:
        cases: to show.
        runs: their names.
        classes: names, the background first.
    """
    colors = [(name, color_of(label)) for label, name in enumerate(classes) if label]
    return {"cases": [asdict(one) for one in cases], "runs": list(runs), "classes": colors, "glow": list(GLOW)}


def render(page: Page) -> str:
    """The page as HTML with style, script and pictures inside."""
    environment = Environment(
        loader=PackageLoader("paucis.workflows.report", "assets"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    source = environment.loader
    assert source is not None
    style, script = (source.get_source(environment, f"report.{kind}")[0] for kind in ("css", "js"))
    template = environment.get_template("report.html")
    return template.render(page=page, style=style, script=script, generator=GENERATOR) + "\n"
