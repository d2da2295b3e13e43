"""From rows to tables and the label-budget curve, on made-up rows."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from paucis.data.split import Split
from paucis.evaluation.comparison.statistics import paired, t_interval
from paucis.workflows.benchmark.curve import draw_budgets
from paucis.workflows.benchmark.grid import expand
from paucis.workflows.benchmark.ground import Prepared
from paucis.workflows.benchmark.report import write_report
from paucis.workflows.benchmark.suite import Suite, read
from paucis.workflows.benchmark.tables import averaged, comparisons, over_seeds, patient_dice, sections

METHODS = ("supervised", "mean_teacher", "bcp")


def grid(tmp_path: Path, text: str, cases: int = 8) -> tuple[Suite, list[Prepared], dict[str, dict[str, str]]]:
    """A suite whose runs all have rows: later methods are better, more labels too."""
    suite = read("s", text)
    runs: list[Any] = []
    rows = {}
    (tmp_path / "cases").mkdir()
    for number, job in enumerate(expand(suite)):
        labeled = int(job.labels or 20)
        split = Split(tuple(f"l{i}" for i in range(labeled)), ("u",), tuple(f"c{i}" for i in range(cases)))
        plan = SimpleNamespace(patch=(8, 16), batch_size=2)
        runs.append(Prepared(job, f"run{number}", split, plan, (), "val", "last", ()))  # type: ignore[arg-type]
        rank = METHODS.index(job.entry.method)
        dice = [
            0.4 + 0.02 * labeled + 0.05 * rank + 0.01 * job.seed + 0.001 * case * (rank + 1) for case in range(cases)
        ]
        lines = ["case,group,class,dice", *(f"c{case},p{case // 2},organ,{value}" for case, value in enumerate(dice))]
        (tmp_path / "cases" / f"run{number}.csv").write_text("\n".join(lines) + "\n")
        rows[f"run{number}"] = {
            "id": f"run{number}",
            "status": "finished",
            "unit": "mm",
            "device": "cpu",
            "dice": str(sum(dice) / cases),
            "dice:organ": str(sum(dice) / cases),
            "jaccard": "0.5",
            "hd95": "4.0",
            "asd": "",
            "seconds_per_step": str(0.1 * (rank + 1)),
            "memory_mib": str(100.0 * (rank + 1)),
        }
    return suite, runs, rows


ALL = "{methods: [supervised, mean_teacher, bcp], labels: [2, 4], seeds: [0, 1, 2]}"


def test_a_section_for_each_budget_with_a_line_for_each_method(tmp_path: Path) -> None:
    suite, runs, rows = grid(tmp_path, ALL)
    found = sections(tmp_path, suite, runs, rows)
    assert [(section.labels, section.labeled) for section in found] == [("2", 2), ("4", 4)]
    assert [line.entry.name for line in found[0].lines] == list(METHODS)
    assert [(line.done, line.wanted) for line in found[0].lines] == [(3, 3)] * 3


def test_time_and_memory_stand_beside_the_reference(tmp_path: Path) -> None:
    suite, runs, rows = grid(tmp_path, ALL)
    line = sections(tmp_path, suite, runs, rows)[0].lines[2]
    assert (line.seconds, line.memory) == pytest.approx((0.3, 300))
    assert (line.slower, line.larger) == pytest.approx((3, 3))
    for row in rows.values():
        row["device"] = row["id"]
    assert math.isnan(sections(tmp_path, suite, runs, rows)[0].lines[2].slower)  # another device: no ratio


def test_the_interval_is_over_seeds_then_folds_then_patients() -> None:
    seeds = over_seeds({(0, 0): 0.6, (0, 1): 0.8, (1, 0): 0.8, (1, 1): 0.9}, [])
    assert (seeds.over, seeds.value) == ("seeds", pytest.approx(0.775))
    assert (seeds.low, seeds.high) == pytest.approx(t_interval([0.7, 0.85]))
    folds = over_seeds({(0, 0): 0.6, (0, 1): 0.8}, [])
    assert (folds.over, folds.low) == ("folds", pytest.approx(t_interval([0.6, 0.8])[0]))
    single = over_seeds({(0, None): 0.7}, [{"a": 0.6, "b": 0.8}])
    assert single.over == "patients"
    assert 0.6 <= single.low < single.high <= 0.8


def test_patients_are_the_units_and_classes_weigh_the_same(tmp_path: Path) -> None:
    text = "case,group,class,dice\na1,a,x,0.2\na1,a,y,0.4\na2,a,x,0.7\na2,a,y,\nb1,b,x,1.0\nb1,b,y,0.0\n"
    (tmp_path / "cases.csv").write_text(text)
    assert patient_dice(tmp_path / "cases.csv") == pytest.approx({"a": (0.3 + 0.7) / 2, "b": 0.5})


def test_only_runs_that_both_have_are_compared() -> None:
    theirs = {(0, None): {"a": 0.5, "b": 0.5}, (1, None): {"a": 0.9, "b": 0.9}}
    ours = {(0, None): {"a": 0.6, "b": 0.7}}
    found = comparisons("r", {"r": theirs, "m": ours, "other": {(7, None): {"a": 0.1}}})
    assert set(found) == {"m"}
    assert found["m"].difference == pytest.approx(0.15)  # not against the seed that only the reference has


def test_seeds_are_averaged_for_each_patient_before_the_test() -> None:
    ours = {(seed, None): {f"p{p}": 0.5 + 0.01 * p + 0.1 * seed for p in range(6)} for seed in range(2)}
    theirs = {(seed, None): {f"p{p}": 0.5 for p in range(6)} for seed in range(2)}
    found = comparisons("r", {"r": theirs, "m": ours})["m"]
    expected = paired(averaged(ours.values()), averaged(theirs.values()))
    assert found.n == 6  # patients, not patients times seeds
    assert (found.p, found.difference) == (expected.p, expected.difference)


def test_holm_counts_the_methods_of_a_table(tmp_path: Path) -> None:
    suite, runs, rows = grid(tmp_path, ALL)
    for line in sections(tmp_path, suite, runs, rows)[0].lines[1:]:
        assert line.against is not None
        assert line.against.adjusted == pytest.approx(min(1, 2 * line.against.p))


def test_the_report_says_what_is_missing_and_what_was_published(tmp_path: Path) -> None:
    published = "{source: 'Somebody, Table 1', dice: {bcp: 61.5}}"
    suite, runs, rows = grid(tmp_path, ALL[:-1] + f", published: {published}, notes: [Read me.]}}")
    del rows["run17"], rows["run16"]
    written = write_report(tmp_path, suite, runs, rows)
    assert [path.name for path in written] == ["table.md", "table.html", "budget.png"]
    text = (tmp_path / "table.md").read_text()
    for said in ("2 of 18 runs are still to be done", "Published: Somebody, Table 1", "- Read me.", "| 61.50 |", "2/3"):
        assert said in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert "**bcp**" in text  # the best stands out


def test_nothing_finished_gives_no_report(tmp_path: Path) -> None:
    suite, runs, _ = grid(tmp_path, ALL)
    assert write_report(tmp_path, suite, runs, {}) == ()
    assert not (tmp_path / "table.md").exists()


def test_markup_in_names_does_not_reach_the_page(tmp_path: Path) -> None:
    text = "{methods: [supervised, {name: '<b>|x', method: bcp}], description: 'a < b', labels: 2}"
    suite, runs, rows = grid(tmp_path, text)
    write_report(tmp_path, suite, runs, rows)
    page = (tmp_path / "table.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_the_curve_needs_two_budgets(tmp_path: Path) -> None:
    suite, runs, rows = grid(tmp_path, ALL)
    found = sections(tmp_path, suite, runs, rows)
    assert not draw_budgets(tmp_path / "one.png", found[:1], "supervised")
    assert draw_budgets(tmp_path / "two.png", found, "supervised")
    with Image.open(tmp_path / "two.png") as picture:
        assert picture.size[0] > 500
