"""What MkDocs cannot know by itself: which methods have a page, and which pages of results are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

MARK = "<!-- methods -->"
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
    """Puts the table of methods in the place of its mark."""
    return markdown.replace(MARK, methods_table(Path(config["docs_dir"]))) if MARK in markdown else markdown


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
