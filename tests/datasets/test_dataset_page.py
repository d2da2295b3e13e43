"""The page of the published datasets lists every one, with all that a user must know before the download."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from paucis.datasets import shipped
from paucis.workflows.benchmark.suite import find
from paucis.workflows.benchmark.suite import shipped as suites

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dataset_stands_there_with_terms_citation_size_and_command(hooks: ModuleType) -> None:
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    assert hooks.DATASETS in page
    told = hooks.datasets_list()
    for name, dataset in shipped().items():
        chapter = told.split(f"#### `{name}`")[1].split("\n#### ")[0]
        command = f"paucis prepare {name} SOURCE --out DATASET"
        for words in (dataset.terms, dataset.citation, dataset.size, dataset.layout, dataset.status, command):
            assert words in chapter, (name, words)
        assert all(f"--protocol {protocol.name}" in chapter for protocol in dataset.protocols)


def test_every_row_of_a_papers_table_stands_there_with_its_figure(hooks: ModuleType) -> None:
    assert hooks.TABLES in (DOCS / "datasets.md").read_text(encoding="utf-8")
    lines = hooks.published_tables().splitlines()
    for suite in filter(lambda suite: suite.table, map(find, suites())):
        (line,) = [line for line in lines if line.startswith(f"| `{suite.table}` |")]
        dice = suite.published.dice if suite.published else {}
        assert all(f"{entry.name} {dice[entry.name]:.2f}" in line for entry in suite.entries if entry.name in dice)
