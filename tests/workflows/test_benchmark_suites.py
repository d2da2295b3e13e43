"""Suites as files: what they may say, what is refused, and the shipped ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paucis.data.case import Case, Dataset
from paucis.engine.files import read_json
from paucis.errors import PaucisError
from paucis.workflows.benchmark.grid import chosen, expand
from paucis.workflows.benchmark.protocol import read_protocol
from paucis.workflows.benchmark.suite import entries, find, read, shipped

TABLES = {
    "la-16": ("16", 13),
    "la-8": ("8", 11),
    "la-5fold": ("16", 9),
    "pancreas-12": ("12", 13),
    "pancreas-3": ("3", 13),
    "colon-5": ("5", 13),
    "acdc-68": ("3", 10),
    "acdc-136": ("7", 10),
    "isic-5": ("5%", 10),
    "isic-10": ("10%", 10),
}
BASELINES = {
    "supervised", "mean_teacher", "ua_mt", "entropy_minimization", "co_training", "cct", "cps", "ict", "dan", "sassnet",
    "dtc", "urpc", "mc_net", "mcf", "ucmt", "simcvd", "cross_teaching", "fixmatch", "unimatch", "bcp",
}  # fmt: skip


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_suite_resolves_every_run(name: str) -> None:
    suite = find(name)
    jobs = expand(suite, split=Path("split.json"))
    rounds = 1 if suite.rounds is None else suite.rounds.number + 1
    assert len(jobs) == len(suite.entries) * len(suite.labels) * rounds * len(suite.seeds) * max(len(suite.folds), 1)
    assert suite.description
    assert suite.needs
    assert suite.reference == ("supervised" if suite.rounds is None else "foreground")
    for job in jobs:
        assert (job.config.seed, job.config.labels) == (job.seed, job.labels if job.round == 0 else suite.labels[0])


@pytest.mark.parametrize(("name", "expected"), TABLES.items())
def test_every_table_of_the_papers_has_its_suite(name: str, expected: tuple[str, int]) -> None:
    suite = find(name)
    assert (suite.labels[0], len(suite.entries)) == expected
    assert suite.published is not None


def test_the_mini_suites_hold_every_baseline() -> None:
    for name in ("acdc-mini", "hippocampus-mini"):
        assert {entry.method for entry in find(name).entries} >= BASELINES


LD = ["jsrt-ld", "montgomery-ld", "vessels-ld", "jsrt-ld-ablation"]


@pytest.mark.parametrize("name", LD)
def test_the_notes_of_a_suite_on_pretrainings_say_how_each_is_made(name: str) -> None:
    suite = find(name)
    told = " ".join([suite.needs, *suite.notes])
    began = [str(entry.options["init"]) for entry in suite.entries if "init" in entry.options]
    assert len(began) == len(suite.entries) - 1
    for place in began:
        assert place in told or re.sub(r"\d+$", "", place) + "$" in told, place


def test_the_small_suites_compare_the_pretrainings_with_scratch_at_four_budgets() -> None:
    for name in LD[:3]:
        suite = find(name)
        rows = {entry.name: entry for entry in suite.entries}
        assert {"supervised", "ld", "simclr", "moco", "densecl"} <= set(rows)
        assert suite.labels == (("2", "4", "8", None) if name == "vessels-ld" else ("5", "10", "20", None))
        lengths = {job.config.train.steps for job in expand(suite)}
        assert len(lengths) == 1, "scratch is as long as the others"
    vessels = expand(find("vessels-ld"))[0].config.data
    assert vessels.patch is not None
    assert min(vessels.patch) >= 256


def test_the_ablation_has_grids_with_and_without_mixup_and_numbers_of_clusters() -> None:
    names = {entry.name for entry in find("jsrt-ld-ablation").entries}
    assert {f"{kind}_{grid}" for kind in ("mixed", "patches") for grid in (1, 2, 4, 8, 16)} < names
    assert {f"clusters_{count}" for count in (4, 8, 12, 16)} < names


def test_the_left_atrium_is_cut_into_the_published_folds() -> None:
    suite = find("la-5fold")
    assert suite.split is not None
    tests = [set(fold["test"]) for fold in suite.split.folds]
    assert [len(test) for test in tests] == [20] * 5
    assert set.union(*tests) == set(range(100))
    assert all(set(fold["train"]) == set(range(100)) - set(fold["test"]) for fold in suite.split.folds)
    first = [fold["train"][:16] for fold in suite.split.folds]
    assert first[0] == tuple(range(16))
    assert first[1] == first[2] == first[3] == first[4]  # the published lists label the same scans in four folds
    assert first[1][:3] == (80, 81, 79)


def test_methods_come_once_before_any_is_repeated() -> None:
    suite = read("s", "{methods: [supervised, mean_teacher], labels: [2, 4], seeds: [0, 1]}")
    names = [(job.seed, job.labels, job.entry.name) for job in expand(suite)]
    assert names[:3] == [(0, "2", "supervised"), (0, "2", "mean_teacher"), (0, "4", "supervised")]
    assert [seed for seed, _, _ in names] == sorted(seed for seed, _, _ in names)


def test_options_of_a_row_stand_over_the_suites_and_the_command_line_over_both() -> None:
    suite = read(
        "s",
        "{options: {train.steps: 10, train.clip: 5}, methods: [{method: supervised, options: {train.steps: 20}}]}",
    )
    assert expand(suite)[0].config.train.steps == 20
    job = expand(suite, overrides={"train.steps": "30"})[0]
    assert (job.config.train.steps, job.config.train.clip) == (30, 5)


def test_a_row_with_its_own_network_takes_none_of_the_suites_network_options() -> None:
    suite = read(
        "s",
        "{options: {network.features: 8}, methods: [supervised, {name: v, method: supervised, network: vnet}]}",
    )
    one, two = expand(suite)
    assert one.config.network_options["features"] == 8
    assert two.config.network == "vnet"


def test_all_methods_can_be_excluded_and_changed() -> None:
    suite = read("s", "{methods: [all, {name: bcp, options: {method.alpha: 0.1}}], exclude: [mcf]}")
    names = {entry.name: entry for entry in suite.entries}
    assert "mcf" not in names
    assert names["bcp"].options == {"method.alpha": 0.1}
    assert len(names) > 15


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods: [mean_techer]", "did you mean 'mean_teacher'"),
        ("{methods: all, exclude: [mcff]}", "did you mean 'mcf'"),
        ("methds: all", "did you mean 'methods'"),
        ("{methods: [supervised], labels: [many]}", "many"),
        ("{methods: [supervised], labels: ['200%']}", "200%"),
        ("{methods: [supervised], labels: [4, 4]}", "twice"),
        ("{methods: [supervised], seeds: [zero]}", "seeds"),
        ("{methods: [supervised], reference: supervisd}", "did you mean 'supervised'"),
        ("{methods: [supervised], options: {seed: 3}}", "'seeds'"),
        ("{methods: [supervised], options: {labels: 3}}", "'labels'"),
        ("{methods: [supervised], evaluation: {rol: val}}", "did you mean 'evaluation.role'"),
        ("{methods: [supervised], evaluation: {role: tests}}", "did you mean 'test'"),
        ("{methods: [supervised], predict: {strid: 3}}", "did you mean 'predict.stride'"),
        ("{methods: [supervised, {name: supervised, method: dtc}]}", "two methods"),
        ("{methods: [supervised], published: {source: a, dice: {superviced: 3}}}", "did you mean 'supervised'"),
        ("{methods: [supervised], published: {dice: {supervised: 3}}}", "source"),
        ("{methods: [supervised], split: {cases: 3, folds: [{train: '0-3'}]}}", "outside the 3 cases"),
        ("{methods: [supervised], split: {cases: 3, folds: [{train: '0-1', test: '1'}]}}", "twice"),
        ("{methods: [supervised], split: {cases: 3, folds: [{train: '0', tests: '1'}]}}", "did you mean 'test'"),
        ("methods: [", "not YAML"),
        ("- supervised", "must hold 'methods'"),
        ("description: nothing", "names no 'methods'"),
    ],
)
def test_a_broken_suite_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(PaucisError, match="suite 's'") as refused:
        read("s", text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{methods: [{name: v, method: supervised, network: vnett}]}", "did you mean 'vnet'"),
        ("{methods: [supervised], options: {train.stps: 3}}", "did you mean 'train.steps'"),
        ("{methods: [{name: d, method: dtc, options: {method.steep: 3}}]}", "d: unknown option"),
        ("{methods: [{name: d, method: dtc, plugs: [pdcrr]}]}", "pdcrr"),
    ],
)
def test_what_a_run_cannot_be_told_is_refused_with_its_row(text: str, said: str) -> None:
    with pytest.raises(PaucisError, match="suite 's', ") as refused:
        expand(read("s", text))
    assert said in str(refused.value)


def test_what_the_suite_fixes_cannot_be_overridden() -> None:
    with pytest.raises(PaucisError, match="'seed' is fixed by the suite"):
        expand(read("s", "methods: [supervised]"), overrides={"seed": "3"})


def test_only_takes_names_of_rows_and_of_methods() -> None:
    suite = read("s", "methods: [supervised, {name: far, method: bcp}, {name: near, method: bcp}]")
    assert chosen(suite, ()) == ("supervised", "far", "near")
    assert chosen(suite, ("bcp",)) == ("far", "near")
    assert chosen(suite, ("near",)) == ("near",)
    with pytest.raises(PaucisError, match="did you mean 'supervised'"):
        chosen(suite, ("supervize",))


def test_an_unknown_suite_is_answered_with_the_nearest() -> None:
    with pytest.raises(PaucisError, match="did you mean 'acdc-mini'"):
        find("acdc-minni")
    with pytest.raises(PaucisError, match="no such suite file"):
        find("nothing.yaml")


def test_a_protocol_writes_names_by_position(tmp_path: Path) -> None:
    names = ["c", "a", "d", "b"]
    cases = tuple(Case(name, (Path(f"{name}.nii"),), Path(f"{name}_label.nii")) for name in names)
    dataset = Dataset(tmp_path, "folder", (*cases, Case("unlabeled", (Path("u.nii"),))), (), (), ())
    read_protocol({"cases": 4, "folds": [{"train": "2,0-1", "test": 3}]}).write(dataset, tmp_path / "split.json")
    assert read_json(tmp_path / "split.json") == {"train": ["c", "a", "b"], "val": [], "test": ["d"]}
    with pytest.raises(PaucisError, match="4 labeled cases and the protocol's split is of 5"):
        read_protocol({"cases": 5, "folds": [{"train": "0"}]}).write(dataset, tmp_path / "other.json")


def test_the_listing_tells_what_each_suite_compares() -> None:
    found = {suite["name"]: suite for suite in entries()}
    assert found["la-5fold"]["folds"] == [0, 1, 2, 3, 4]
    assert "mcf" in found["la-5fold"]["methods"]
    assert {"name": "network", "default": "vnet"} in found["la-5fold"]["options"]
