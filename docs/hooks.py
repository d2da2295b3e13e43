"""What MkDocs cannot know by itself: which methods have a page, which pages of results are there, which datasets are
in the table, and which suites belong to a paper's table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

MARK = "<!-- methods -->"
DATASETS, TABLES = "<!-- datasets -->", "<!-- tables -->"
AREAS = {
    "volumes": "Volumes",
    "skin": "Skin",
    "chest": "Chest X-ray",
    "fundus": "Fundus",
    "pathology": "Pathology",
    "references": "Shapes without images",
}
OPTIONAL = {"performance.md": "Performance", "benchmark.md": "Benchmark"}


def on_config(config: Any) -> Any:
    """Adds to the navigation what lies in ``methods/``, ``results/`` and the pages that may be missing."""
    docs = Path(config["docs_dir"])
    further: list[dict[str, Any]] = [{title: name} for name, title in OPTIONAL.items() if (docs / name).is_file()]
    results = [f"results/{path.name}" for path in sorted((docs / "results").glob("*.md"))]
    further += [{"Results": results}] if results else []
    for position, entry in enumerate(config["nav"]):
        if "Methods" in entry:
            entry["Methods"] = ["methods/index.md", *(f"methods/{path.name}" for path in method_pages(docs))]
            config["nav"][position + 1 : position + 1] = further
            break
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Puts the tables of methods, datasets and published tables in the places of their marks."""
    made = {MARK: lambda: methods_table(Path(config["docs_dir"])), DATASETS: datasets_list, TABLES: published_tables}
    for mark, make in made.items():
        markdown = markdown.replace(mark, make()) if mark in markdown else markdown
    return markdown


def method_pages(docs: Path) -> list[Path]:
    """The page of each method, by name."""
    return sorted(path for path in (docs / "methods").glob("*.md") if path.stem != "index")


def methods_table(docs: Path) -> str:
    """Each method with the first sentence of its page."""
    rows = ["| method | in a sentence |", "|---|---|"]
    rows += [
        f"| [`{path.stem}`]({path.name}) | {first_sentence(path.read_text('utf-8'))} |" for path in method_pages(docs)
    ]
    return "\n".join(rows)


def first_sentence(text: str) -> str:
    """The first sentence of a page's first paragraph of prose."""
    blocks = [block.strip() for block in text.split("\n\n")]
    prose = next((b for b in blocks if b and not b.startswith(("#", "|", "$", "```", "!!!", "1.", "- "))), "")
    return re.split(r"(?<=[.:;])\s", " ".join(prose.split()), maxsplit=1)[0].rstrip(":;").replace("|", "\\|")


def datasets_list() -> str:
    """Every dataset of the table: what it is, where it is to be had, on which terms, its command and its protocols."""
    from paucis.datasets import shipped

    lines: list[str] = []
    for area, title in AREAS.items():
        lines += ["", f"### {title}", ""]
        for dataset in (one for one in shipped().values() if one.area == area):
            home = re.sub(r"https?://\S+?(?=[ ,)]|$)", lambda url: f"<{url[0]}>", dataset.home)
            lines += [f"#### `{dataset.name}`", "", f"{dataset.title}. {dataset.size}. Layout {dataset.status}.", ""]
            lines += [f"- home: {home}", f"- terms: {dataset.terms}", f"- cite: {dataset.citation}"]
            lines += [f"- the folder must hold {dataset.layout}"]
            lines += [f"- `--protocol {protocol.name}`: {protocol.about}" for protocol in dataset.protocols]
            lines += ["", "```sh", f"paucis prepare {dataset.name} SOURCE --out DATASET", "```", ""]
    return "\n".join(lines)


def published_tables() -> str:
    """Suites that stand for a paper's table, with their dataset and the published Dice of each row."""
    from paucis.workflows.benchmark.suite import find
    from paucis.workflows.benchmark.suite import shipped as suites

    rows = ["| table | suite | rows, with the published Dice in percent |", "|---|---|---|"]
    for suite in sorted(map(find, suites()), key=lambda suite: suite.table):
        if suite.table:
            dice = suite.published.dice if suite.published else {}
            figures = [
                f"{entry.name} {dice[entry.name]:.2f}" if entry.name in dice else entry.name for entry in suite.entries
            ]
            rows.append(f"| `{suite.table}` | `{suite.name}` | {', '.join(figures)} |")
    return "\n".join(rows)
