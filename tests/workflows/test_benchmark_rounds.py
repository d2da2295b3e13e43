"""A suite with rounds on phantoms: rules choose, networks are trained anew, the first run of a seed is common."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from paucis.engine.files import read_json
from paucis.errors import PaucisError
from paucis.evaluation.comparison.statistics import t_interval
from paucis.workflows.benchmark.estimate import estimate
from paucis.workflows.benchmark.grid import expand
from paucis.workflows.benchmark.results import figure
from paucis.workflows.benchmark.running import Benchmarked, benchmark
from paucis.workflows.benchmark.suite import Suite, find, read
from paucis.workflows.phantom import write_phantoms

SMALL = """
options:
  network.features: 4
  network.depth: 2
  network.dropout: 0.2
  data.order: seed
  data.patch: [8, 16, 16]
  data.workers: 0
  train.steps: 2
  train.batch_size: 1
  train.workers: 0
  train.log_every: 1
  validation.every: 2
methods: supervised
labels: 1
seeds: [0, 1]
"""
ROUNDS = "rounds: {add: 1, number: 2, rules: [foreground, mutual_information, core_set], predict: {dropout: 2}}\n"
RULES = ("foreground", "mutual_information", "core_set")


def suite(text: str = ROUNDS) -> Suite:
    return read("tiny", SMALL + text)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labeled scans and one without a label."""
    folder = tmp_path_factory.mktemp("rounds") / "phantoms"
    write_phantoms(folder, cases=7, labeled=6, test=0, size=20, seed=1)
    return folder


@pytest.fixture(scope="module")
def grid(scans: Path, tmp_path_factory: pytest.TempPathFactory, started: list[str]) -> tuple[Path, Benchmarked]:
    out = tmp_path_factory.mktemp("grid") / "out"
    stopped = benchmark(suite(), scans, out=out, limit_minutes=0)
    assert (stopped.finished, stopped.left, started) == (0, 14, [])
    return out, benchmark(suite(), scans, out=out)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def split(out: Path, row: dict[str, str]) -> dict[str, list[str]]:
    return dict(read_json(out / "runs" / row["id"] / "training" / "split.json"))


def test_a_seed_starts_once_and_every_rule_goes_its_own_way(grid: tuple[Path, Benchmarked], started: list[str]) -> None:
    out, done = grid
    assert (done.runs, done.finished, done.left) == (14, 14, 0)  # 2 seeds of a start and 3 rules in 2 rounds
    of_a_seed = [("start", "1", "0"), *((rule, "1 + 1", "1") for rule in RULES), *((r, "1 + 2", "2") for r in RULES)]
    assert [(row["name"], row["labels"], row["round"]) for row in rows(out)] == of_a_seed * 2
    assert started[:2] == ["start, 1 labels, seed 0", "foreground, 1 + 1 labels, seed 0"]
    assert [int(row["labeled"]) for row in rows(out)] == [1, 2, 2, 2, 3, 3, 3] * 2


def test_a_round_trains_on_what_its_rule_chose_before(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    for seed in ("0", "1"):
        mine = [row for row in rows(out) if row["seed"] == seed]
        start = split(out, mine[0])
        for rule in RULES:
            labeled, chosen = start["labeled"], json.loads(mine[0]["suggested"])[rule]
            for row in [row for row in mine if row["name"] == rule]:
                assert len(chosen) == 1
                assert chosen[0] in start["unlabeled"]
                assert chosen[0] not in labeled
                assert chosen[0] != "phantom_006"  # has no label that could be added
                here = split(out, row)
                assert here["labeled"] == [*labeled, *chosen]
                assert (here["val"], here["test"]) == (start["val"], start["test"])
                assert sorted(here["labeled"] + here["unlabeled"]) == sorted(start["labeled"] + start["unlabeled"])
                labeled, chosen = here["labeled"], json.loads(row["suggested"]).get(rule, [])
            assert chosen == []  # nothing is chosen after the last round


def test_seeds_start_from_labels_of_their_own(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    first, second = (split(out, row)["labeled"] for row in rows(out) if row["name"] == "start")
    assert first != second


def test_a_second_call_runs_nothing_and_a_lost_table_comes_back(
    grid: tuple[Path, Benchmarked], scans: Path, started: list[str]
) -> None:
    out, before = grid
    done, known = len(started), {row["id"]: row["dice"] for row in rows(out)}
    assert benchmark(suite(), scans, out=out).finished == before.finished
    (out / "results.csv").unlink()
    assert benchmark(suite(), scans, out=out).finished == before.finished
    assert {row["id"]: row["dice"] for row in rows(out)} == known
    assert len(started) == done


def test_tables_compare_rules_at_equal_budgets_and_a_picture_shows_the_curves(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    text = (out / "table.md").read_text()
    for said in ("## 1 labels: 1 labeled", "## 1 + 2 labels: 3 labeled", "| Rule |", "Dice - foreground"):
        assert said in text
    assert "chooses 1 of the scans not labeled yet (4 at first)" in text
    assert "still to be done" not in text
    first = text.split("## 1 + 1 labels")[0]
    assert "start**" in first or "| start |" in first
    assert "core_set" not in first  # nothing to compare yet
    assert (out / "budget.png").read_bytes().startswith(b"\x89PNG")
    start = next(row for row in rows(out) if row["name"] == "start")
    assert figure(start, "suggestion_seconds") > 0


def test_learning_curves_are_averaged_over_their_rounds_seed_by_seed(grid: tuple[Path, Benchmarked]) -> None:
    out, _ = grid
    text = (out / "table.md").read_text().split("## Mean of the learning curves")[1]
    curves: dict[str, list[float]] = {}
    for rule in RULES:
        mine = [row for row in rows(out) if row["name"] == rule]
        means = [sum(figure(row, "dice") for row in mine if row["seed"] == seed) / 2 for seed in ("0", "1")]
        low, high = t_interval(means)
        line = next(line for line in text.splitlines() if line.startswith(f"| {rule} |"))
        assert f"| 2/2 | {50 * sum(means):.2f} [{100 * low:.2f}, {100 * high:.2f}]" in line
        curves[rule] = means
        if rule != "foreground":
            apart = [mine - theirs for mine, theirs in zip(means, curves["foreground"], strict=True)]
            low, high = t_interval(apart)
            assert f"| {50 * sum(apart):+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] |" in line


def test_only_some_rules_still_begin_at_the_common_start(scans: Path, tmp_path: Path, started: list[str]) -> None:
    done = len(started)
    one = suite(ROUNDS.replace("number: 2", "number: 1"))
    found = benchmark(one, scans, out=tmp_path / "out", only=["core_set"])
    assert started[done:] == [
        "start, 1 labels, seed 0",
        "core_set, 1 + 1 labels, seed 0",
        "start, 1 labels, seed 1",
        "core_set, 1 + 1 labels, seed 1",
    ]
    assert (found.runs, found.finished, found.left) == (8, 4, 4)
    assert "4 of 8 runs are still to be done" in (tmp_path / "out" / "table.md").read_text()


def test_an_estimate_counts_what_is_looked_at(grid: tuple[Path, Benchmarked], scans: Path, started: list[str]) -> None:
    out, _ = grid
    done = len(started)
    assert {run.state for run in estimate(suite(), scans, out=out)} == {"finished"}
    third = read("tiny", (SMALL + ROUNDS).replace("[0, 1]", "[0, 1, 2]"))
    todo = {run.name: run.seconds for run in estimate(third, scans, out=out) if run.state == "to do"}
    assert len(todo) == 7
    assert len(started) == done  # other seeds tell
    assert todo["start, 1 labels, seed 2"] > todo["mutual_information, 1 + 1 labels, seed 2"]
    assert todo["mutual_information, 1 + 1 labels, seed 2"] > todo["mutual_information, 1 + 2 labels, seed 2"] > 0


def test_a_fresh_estimate_measures_training_and_choice_once(scans: Path, tmp_path: Path, started: list[str]) -> None:
    done = len(started)
    found = {run.name: run for run in estimate(suite(), scans, out=tmp_path / "out")}
    assert len(started) == done + 1
    assert len(found) == 14
    assert {run.state for run in found.values()} == {"to do"}
    assert found["start, 1 labels, seed 1"].seconds > found["core_set, 1 + 1 labels, seed 1"].seconds
    assert found["core_set, 1 + 1 labels, seed 1"].seconds > found["core_set, 1 + 2 labels, seed 1"].seconds > 0


def test_more_rounds_than_scans_are_refused_before_anything_runs(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="4 further scans have labels, and 5 rounds of 1 need more"):
        benchmark(suite(ROUNDS.replace("number: 2", "number: 5")), scans, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rounds: 3", "'rounds' must hold"),
        ("rounds: {add: 0, number: 2}", "whole number from 1 as 'add'"),
        ("rounds: {add: 1}", "whole number from 1 as 'number'"),
        ("rounds: {add: 1, number: 1, steps: 3}", "knows no 'steps'"),
        ("rounds: {add: 1, number: 1, rules: [entrpy]}", "did you mean 'entropy'"),
        ("rounds: {add: 1, number: 1, rules: [random, random]}", "different rules"),
        ("rounds: {add: 1, number: 1}", "several draws for mutual_information"),
        ("rounds: {add: 1, number: 1, rules: entropy, predict: {drop: 1}}", "drop"),
        ("rounds: {add: 1, number: 1, rules: entropy}\nreference: random", "reference 'random'"),
        ("rounds: {add: 1, number: 1, rules: entropy}\nlabels: [1, 2]", "one budget"),
        ("rounds: {add: 1, number: 1, rules: entropy}\nmethods: [supervised, mean_teacher]", "a single one"),
    ],
)
def test_broken_rounds_are_refused_in_one_line(text: str, said: str) -> None:
    given = SMALL
    for key in ("methods", "labels"):
        if f"{key}:" in text:
            given = "\n".join(line for line in given.splitlines() if not line.startswith(f"{key}:"))
    with pytest.raises(PaucisError) as error:
        read("tiny", f"{given}\n{text}")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_shipped_suite_starts_with_the_rule_to_beat() -> None:
    shipped = find("hippocampus-suggest")
    assert shipped.rounds is not None
    assert shipped.reference == "foreground"
    assert set(shipped.rounds.rules) == {"random", "foreground", "entropy", "mutual_information", "core_set"}
    assert len({(job.name, job.labels, job.seed) for job in expand(shipped)}) == 3 * (1 + 3 * 5)
