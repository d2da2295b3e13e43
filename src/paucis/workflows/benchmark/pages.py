"""Tables as Markdown and as an HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment


@dataclass(frozen=True)
class Part:
    """A table under a heading; ``**name**`` in a cell stands out."""

    title: str
    head: list[str]
    body: list[list[str]]


@dataclass(frozen=True)
class Page:
    """A title, sentences above the tables, tables, and notes below."""

    title: str
    above: list[str]
    parts: list[Part]
    notes: list[str]


def markdown(page: Page, picture: Path | None = None) -> str:
    """The page as Markdown; the picture is linked beside it."""
    lines = [f"# {page.title}", ""]
    for sentence in page.above:
        lines += [sentence, ""]
    for part in page.parts:
        lines += [f"## {part.title}", "", *_table(part.head, part.body), ""]
    if picture is not None:
        lines += [f"![Dice against labeled cases]({picture.name})", ""]
    return "\n".join([*lines, *(f"- {note}" for note in page.notes)]) + "\n"


def html(page: Page, picture: Path | None = None) -> str:
    """The page as HTML with the picture inside."""
    data = base64.b64encode(picture.read_bytes()).decode() if picture is not None else None
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
    return template.render(page=page, picture=data) + "\n"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in (head, rule, *body)]


TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; color: #1b1f24; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d7dce1; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #5b6670; }
tr.best { background: #eaf3ea; }
img { max-width: 100%; }
li { margin: .3rem 0; max-width: 60rem; }
</style>
</head>
<body>
<h1>{{ page.title }}</h1>
{% for sentence in page.above %}
<p>{{ sentence }}</p>
{% endfor %}
{% for part in page.parts %}
<h2>{{ part.title }}</h2>
<div class="wide"><table>
<thead><tr>{% for cell in part.head %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for line in part.body %}
<tr{% if line[0].startswith("**") %} class="best"{% endif %}>
{%- for cell in line %}<td>{{ cell.replace("**", "") }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
{% if picture %}
<p><img alt="Dice against labeled cases" src="data:image/png;base64,{{ picture }}"></p>
{% endif %}
<ul>
{% for note in page.notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
</body>
</html>
"""
