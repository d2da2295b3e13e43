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
    "fcn": ["network.backbone=vgg_tiny", "network.pretrained=none"],
}
SHOWN = ["aua-III:dtc", "ugpcl-1-acdc-136:supervised", "multicure-2:mcf", "pdcr-2-heart:both", "ld-2-chase:supervised"]
SIZES = {
    "multicure": ["method.second=none", "network.filters=4"],
    "ugpcl": ["method.transformer_width=6", "method.dim=8"],
    "mcf": ["method.second=none"],
}


def test_the_tables_of_the_five_papers_have_suites() -> None:
    assert {f"aua-{number}" for number in ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")} <= set(TABLES)
    assert {"ugpcl-1-acdc-68", "ugpcl-1-acdc-136", "ugpcl-1-isic-91", "ugpcl-1-isic-181", "ugpcl-2", "ugpcl-3"} <= set(
        TABLES
    )
    assert {"multicure-1", "multicure-2", "multicure-3", "pdcr-3"} <= set(TABLES)
    seven = ("isic2016", "ph2", "montgomery", "digestpath", "brain", "heart", "prostate")
    assert {f"pdcr-2-{task}" for task in seven} <= set(TABLES)
    fundus = ("chase", "hrf", "rite", "stare", "cup", "disc", "idrid-disc", "exudates")
    chest = ("heart", "lungs", "clavicles", "pneumothorax")
    assert {f"ld-2-{task}" for task in (*fundus, *chest)} <= set(TABLES)


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
        ("ugpcl-1-acdc-136", "ugpcl", 88.11), ("ugpcl-1-isic-91", "ugpcl", 72.67), ("aua-V", "aua_boundary", 77.15),
        ("aua-VI", "aua_pseudo", 46.75), ("aua-VII", "boundary-0.07", 79.45), ("aua-VIII", "unlabeled-12", 76.77),
        ("ugpcl-2", "contrast-pseudo", 87.09), ("ugpcl-3", "level-4", 86.67), ("multicure-3", "multicure_block", 75.8),
        ("pdcr-3", "unet_pdcr", 80.51), ("pdcr-3", "fcn_both", 84.25), ("pdcr-2-digestpath", "fcn", 77.98),
        ("ld-2-chase", "densecl", 80.58), ("ld-2-pneumothorax", "clusters-4", 44.34), ("ld-2-stare", "full", 68.8),
    ):  # fmt: skip
        published = TABLES[table].published
        assert published is not None
        assert published.dice[row] == figure


PRETRAINED = {
    "patches": {"method.warmup": 1, "method.mixup": 0}, "mixed": {"method.warmup": 1}, "ld": {},
    **{f"mixed-grid-{size}": {"method.warmup": 1, "method.grid": f"{size},{size}"} for size in (1, 2, 4, 16)},
    **{f"clusters-{number}": {"method.clusters": number} for number in (4, 8, 12)},
    **{f"mixed-{size}": {"method.warmup": 1, "network.size": size} for size in ("small", "full")},
    **{name: {"method": name} for name in ("inst_disc", "emb_inva", "simclr", "rot_ori", "densecl")},
    "moco": {"method": "moco", "method.head": "linear"}, "moco_v2": {"method": "moco"},
    "classification": {"method": "classification"},
}  # fmt: skip


@pytest.mark.parametrize("table", [table for table in TABLES if table.startswith("ld-2-")])
def test_a_pretrained_row_names_a_run_that_its_suite_says_how_to_make(table: str) -> None:
    suite = TABLES[table]
    told = " ".join(suite.notes)
    rows = {entry.name: entry.options["init"] for entry in suite.entries if "init" in entry.options}
    kind = "fundus" if "--recipe ld-fundus" in told else "xray"
    assert rows == {name: f"pretrained/{name}-{kind}" for name in rows}
    assert set(rows) == set(PRETRAINED) - ({"classification"} if kind == "xray" else set())
    assert suite.published is not None
    assert set(suite.published.dice) == {entry.name for entry in suite.entries}
    for options in PRETRAINED.values():
        assert resolve("d", {**find_recipe(f"ld-{kind}").values, **options}).train.steps == 100000


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
    patch = "data.size=64,64" if "data.size" in recipe.values else "data.patch=16,16,16"
    if method == "bcp" and network == "vnet":
        patch = "data.patch=32,16,16"  # it passes one image at a time, of which one voxel would be left
    options = [
        *SMALL[network], *SIZES.get(method, []), patch,
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


def trained_alike() -> list[str]:
    """Every row but those shown; of rows of a dataset that differ in the pretraining alone, which is none here, one."""
    found = {}
    for row in ROWS:
        recipe, needs = find_recipe(row), TABLES[row.partition(":")[0]].needs
        transfer = ("init", "train.frozen", "train.taken")
        values = {key: value for key, value in recipe.values.items() if key not in transfer}
        found.setdefault((needs, str(sorted(values.items(), key=str)), recipe.plugs), row)
    return [row for row in found.values() if row not in SHOWN]


@pytest.mark.heavy
@pytest.mark.parametrize("row", trained_alike())
def test_any_row_trains_two_steps(row: str, folder: Path, tmp_path: Path) -> None:
    trained(prepared(row, folder), tmp_path / "run", "--recipe", row, *small(row), network=False)
