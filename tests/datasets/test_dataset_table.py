"""The table: what every entry must say, and that nothing in it is misspelled."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import pytest
from miniatures import MINIATURES

from paucis.cli import main
from paucis.datasets import find, shipped
from paucis.datasets.readers import READERS
from paucis.datasets.splits import Member, split
from paucis.datasets.steps import STEPS
from paucis.datasets.table import expand
from paucis.errors import PaucisError

TABLE = list(shipped().values())
ISSUED = {
    "isic2016", "isic2017", "isic2018", "ph2", "montgomery", "shenzhen", "chestxray8", "jsrt", "siim-acr",
    "digestpath", "kaggle-dr", "chase-db1", "hrf", "rite", "drive", "stare", "drishti-gs", "idrid", "vessel-shapes",
    "msd-brain", "msd-heart", "msd-hippocampus", "msd-prostate", "msd-pancreas", "msd-colon", "msd", "acdc",
    "acdc-h5", "la", "la-h5", "pancreas-ct", "pancreas-h5", "brats2019",
}  # fmt: skip


def test_every_dataset_of_the_papers_is_in_it() -> None:
    assert set(shipped()) >= ISSUED


def test_every_dataset_has_its_miniature() -> None:
    assert set(MINIATURES) == set(shipped())


@pytest.mark.parametrize("dataset", TABLE, ids=lambda dataset: dataset.name)
def test_an_entry_says_where_from_on_which_terms_and_whom_to_cite(dataset: Any) -> None:
    for words in (dataset.title, dataset.home, dataset.terms, dataset.citation, dataset.size, dataset.layout):
        assert words.strip()
    assert "http" in dataset.home
    assert dataset.status.startswith("tried on") or dataset.status == "as documented by its publisher, unverified"
    assert all(protocol.about for protocol in dataset.protocols)
    assert len(set(dataset.ids)) == len(dataset.ids)


@pytest.mark.parametrize("dataset", TABLE, ids=lambda dataset: dataset.name)
def test_readers_options_and_steps_exist(dataset: Any) -> None:
    known = set(inspect.signature(READERS[dataset.reader]).parameters) - {"source"}
    for protocol in dataset.protocols:
        assert {*dataset.options, *protocol.options} <= known
        assert {name for step in protocol.steps for name in step} <= set(STEPS)


@pytest.mark.parametrize("dataset", TABLE, ids=lambda dataset: dataset.name)
def test_a_protocol_that_uses_labels_to_prepare_images_says_so(dataset: Any) -> None:
    for protocol in dataset.protocols:
        if any("crop" in step for step in protocol.steps):
            assert "uses the ground truth" in protocol.about or "as in 'literature'" in protocol.about


def sizes(rule: Mapping[str, Any], members: list[Member]) -> list[tuple[int, ...]]:
    return [tuple(len(fold.get(role, ())) for role in ("train", "val", "test")) for fold in split(rule, members)]


def complete(name: str) -> list[Member]:
    """The scans of a complete source, as its table names or counts them."""
    dataset = find(name)
    scans = 2 if name.startswith("acdc") else 1
    names = dataset.ids or [f"{number:04}" for number in range(dataset.expect or 0)]
    return [Member(f"{patient}_{number}", patient, None) for patient in names for number in range(scans)]


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("acdc", "literature", [(140, 20, 40)]),
        ("acdc", "ugpcl", [(140, 0, 60)]),
        ("la", "literature", [(80, 0, 20)]),
        ("la", "5-fold", [(80, 0, 20)] * 5),
        ("pancreas-ct", "aua", [(60, 0, 20)]),
        ("pancreas-ct", "4-fold", [(61, 0, 19), (60, 0, 20), (60, 0, 20), (59, 0, 21)]),
        ("msd-colon", "aua", [(100, 0, 26)]),
        ("msd-heart", "5-fold", [(16, 4, 0)] * 5),
        ("brats2019", "whole-tumor", [(250, 25, 60)]),
        ("isic2018", "ugpcl", [(1815, 0, 779)]),
        ("montgomery", "literature", [(80, 0, 58)]),
        ("siim-acr", "literature", [(1334, 0, 1335)]),
    ],
)
def test_splits_of_complete_sources_have_the_sizes_of_the_papers(
    name: str, protocol: str, expected: list[tuple[int, ...]]
) -> None:
    rule = find(name).protocol(protocol).split
    assert rule is not None
    assert sizes(rule, complete(name)) == expected


def test_the_first_patients_of_acdc_are_the_published_ones() -> None:
    rule = find("acdc").protocol(None).split
    assert rule is not None
    train = split(rule, complete("acdc"))[0]["train"]
    first = list(dict.fromkeys(name[7:10] for name in train))[:7]
    assert first == ["099", "038", "050", "100", "058", "021", "049"]


def test_the_labeled_scans_of_the_atrium_are_the_same_in_four_folds() -> None:
    rule = find("la").protocol("5-fold").split
    assert rule is not None
    folds = split(rule, complete("la"))
    first = [fold["train"][:16] for fold in folds]
    assert first[1] == first[2] == first[3] == first[4] != first[0]
    assert {name for fold in folds for name in fold["test"]} == {member.name for member in complete("la")}


def test_identifiers_are_expanded() -> None:
    assert expand("im{08-10}L,x") == ("im08L", "im09L", "im10L", "x")
    assert len(find("pancreas-ct").ids) == 80
    assert len(find("jsrt").ids) == 247


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(PaucisError, match="did you mean 'isic2016'"):
        find("isic206")
    with pytest.raises(PaucisError, match="did you mean 'whole'"):
        find("la").protocol("hole")


def test_the_command_lists_all_in_words_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["datasets", "--json"])
    assert left.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found] == list(shipped())
    assert all(entry["terms"] and entry["citation"] and entry["protocols"] for entry in found)
    with pytest.raises(SystemExit):
        main(["datasets"])
    told = capsys.readouterr().out
    assert "paucis prepare acdc SOURCE --out DATASET" in told
    assert "as documented by its publisher, unverified" in told
