"""Suites of the papers' tables: found by the table's name, every row a recipe, the published figure beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bringing import converted, trained, unpacked

from paucis.datasets import shipped as datasets
from paucis.engine.config import resolve
from paucis.errors import PaucisError
from paucis.methods.base import METHODS
from paucis.workflows.benchmark.suite import find, shipped
from paucis.workflows.recipes import find as find_recipe

SUITES = [find(name) for name in shipped()]
TABLES = {suite.table: suite for suite in SUITES if suite.table}
ROWS = [f"{table}:{entry.name}" for table, suite in TABLES.items() for entry in suite.entries]
SMALL = {
    "unet": ["network.features=4"],
    "vnet": ["network.filters=4"],
    "vgg_unet": [],
    "resnet50_unet": ["network.backbone=resnet18", "network.widths=8,8,4,4,4", "network.pretrained=none"],
    "deeplabv3plus": ["network.backbone=resnet18", "network.width=16", "network.pretrained=none"],
}
SHOWN = ["aua-III:dtc", "ugpcl-1-acdc-136:supervised", "multicure-2:mcf", "pdcr-2-heart:both", "ld-2-chase:supervised"]
SIZES = {
    "multicure": ["method.second=none", "network.filters=4"],
    "ugpcl": ["method.transformer_width=6", "method.dim=8"],
    "mcf": ["method.second=none"],
}


def test_the_tables_of_the_five_papers_have_suites() -> None:
    assert {"aua-I", "aua-II", "aua-III", "aua-IV", "multicure-1", "multicure-2", "pdcr-3", "ld-2-chase"} <= set(TABLES)
    assert {"ugpcl-1-acdc-68", "ugpcl-1-acdc-136", "ugpcl-1-isic-91", "ugpcl-1-isic-181"} <= set(TABLES)


def test_no_two_suites_are_of_one_table() -> None:
    tables = [suite.table for suite in SUITES if suite.table]
    assert len(set(tables)) == len(tables)
    assert not set(tables) & set(shipped())


@pytest.mark.parametrize("table", TABLES)
def test_a_suite_goes_by_its_table_and_names_a_dataset_that_can_be_prepared(table: str) -> None:
    suite = find(table)
    assert suite == TABLES[table]
    name = suite.needs.split("`paucis prepare ")[1].split("`")[0].split()[0]
    assert name in datasets()


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_recipe(row: str) -> None:
    recipe = find_recipe(row)
    config = resolve("d", recipe.values, recipe.plugs)
    suite = TABLES[row.partition(":")[0]]
    entry = next(entry for entry in suite.entries if entry.name == row.partition(":")[2])
    assert config.method == entry.method
    assert config.labels == (entry.labels or suite.labels)[0]


def test_the_published_figure_stands_beside_a_row() -> None:
    assert "Published Dice: 78.27 %" in find_recipe("aua-I:dtc").description
    assert "Published" not in find_recipe("aua-I:bcp").description


def test_the_papers_own_methods_are_rows_with_their_figures() -> None:
    for table, row, figure in (
        ("aua-I", "aua", 79.81), ("aua-II", "aua", 56.18), ("aua-III", "aua", 49.0), ("aua-IV", "aua", 91.08),
        ("multicure-1", "multicure", 89.21), ("multicure-2", "multicure", 76.2), ("pdcr-3", "both", 88.74),
        ("ugpcl-1-acdc-136", "ugpcl", 88.11), ("ugpcl-1-isic-91", "ugpcl", 72.67),
    ):  # fmt: skip
        published = TABLES[table].published
        assert published is not None
        assert published.dice[row] == figure


def test_all_labels_are_a_row_of_their_own_with_the_upper_bound() -> None:
    assert "labels" not in find_recipe("aua-I:supervised_all").values
    assert "81.78" in find_recipe("aua-I:supervised_all").description


def test_an_unknown_row_or_table_is_answered_with_the_nearest() -> None:
    with pytest.raises(PaucisError, match="did you mean 'dtc'"):
        find_recipe("aua-I:dct")
    with pytest.raises(PaucisError, match="did you mean 'multicure-1'"):
        find("multicure1")


def prepared(row: str, folder: Path) -> Path:
    """The miniature of the suite's dataset, prepared as the suite asks for it."""
    words = TABLES[row.partition(":")[0]].needs.split("`paucis prepare ")[1].split("`")[0].split()
    protocol = words[2] if len(words) > 1 else None
    out = folder / f"{words[0]}-{protocol}"
    if not out.exists():
        converted(words[0], unpacked(words[0], folder), out, protocol)
    return out


def small(row: str) -> list[str]:
    """Options that make a row tiny and change nothing else."""
    recipe = find_recipe(row)
    network, method = str(recipe.values.get("network", "unet")), str(recipe.values["method"])
    planar = network in ("resnet50_unet", "deeplabv3plus", "vgg_unet")
    options = [
        *SMALL[network], *SIZES.get(method, []), "data.size=64,64" if planar else "data.patch=16,16,16",
        *(["labels=2"] if "labels" in recipe.values else []),
        *(["data.folds=2"] if "data.folds" in recipe.values else []),
        *(["train.unlabeled_batch_size=2"] if METHODS.get(method).uses_unlabeled else []),
        *(["plug.pdcr.layers=encoder.0,encoder.1", "plug.pdcr.vectors=8"] if "pdcr" in recipe.plugs else []),
        *(["plug.uafs.sites=decoder"] if "uafs" in recipe.plugs else []),
        *(["train.steps=6"] if method == "aua" else []),
        *(["init=none", "train.frozen=0"] if "init" in recipe.values else []),  # nothing is pretrained here
    ]  # fmt: skip
    return list(dict.fromkeys(options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("row", SHOWN)
def test_a_row_trains_two_steps(row: str, folder: Path, tmp_path: Path) -> None:
    trained(prepared(row, folder), tmp_path / "run", "--recipe", row, *small(row), network=False)


@pytest.mark.heavy
@pytest.mark.parametrize("row", [row for row in ROWS if row not in SHOWN])
def test_any_row_trains_two_steps(row: str, folder: Path, tmp_path: Path) -> None:
    trained(prepared(row, folder), tmp_path / "run", "--recipe", row, *small(row), network=False)
