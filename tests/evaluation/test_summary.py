from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paucis.errors import PaucisError
from paucis.evaluation.conventions import LITERATURE, STRICT, State
from paucis.evaluation.metrics import METRICS, Row
from paucis.evaluation.summary import mean_dice, summarize
from paucis.evaluation.tables import write_tables


def row(case: str, dice: float, name: str = "organ", state: State = "found", group: str = "") -> Row:
    return Row(case, group or case, 1, name, state, "mm", 1.0, 1.0, {**dict.fromkeys(METRICS, 0.5), "dice": dice})


def many(count: int, seed: int = 0) -> list[Row]:
    return [row(f"case{i}", value) for i, value in enumerate(np.random.default_rng(seed).beta(8, 2, count))]


def test_mean_median_and_spread_are_those_of_the_cases() -> None:
    found = summarize([row("a", 0.2), row("b", 0.8), row("c", 0.8)]).classes["organ"]["dice"]
    assert (found.n, found.mean, found.median) == (3, pytest.approx(0.6), 0.8)
    assert found.sd == pytest.approx(np.std([0.2, 0.8, 0.8], ddof=1))


def test_the_interval_contains_the_mean_and_agrees_with_scipy() -> None:
    rows = many(30)
    found = summarize(rows).classes["organ"]["dice"]
    values = ([row.scores["dice"] for row in rows],)
    other = stats.bootstrap(values, np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(1))
    assert found.low < found.mean < found.high
    assert found.low == pytest.approx(other.confidence_interval.low, abs=0.003)
    assert found.high == pytest.approx(other.confidence_interval.high, abs=0.003)


def test_the_interval_is_the_same_every_time_and_follows_the_seed() -> None:
    rows = many(12)
    assert summarize(rows).to_dict() == summarize(rows).to_dict()
    assert summarize(rows, seed=1).overall["dice"].low != summarize(rows).overall["dice"].low


def test_scans_of_one_patient_do_not_narrow_the_interval() -> None:
    single = many(10)
    doubled = [row(f"{one.case}{k}", one.scores["dice"], group=one.case) for one in single for k in range(4)]
    apart = [row(f"{one.case}{k}", one.scores["dice"]) for one in single for k in range(4)]
    width = [summarize(rows).overall["dice"].high - summarize(rows).overall["dice"].low for rows in (doubled, apart)]
    assert summarize(doubled).overall["dice"].low == pytest.approx(summarize(single).overall["dice"].low)
    assert width[0] > 1.6 * width[1]


def test_one_patient_gives_no_interval() -> None:
    found = summarize([row("a", 0.5, group="p"), row("b", 0.7, group="p")]).overall["dice"]
    assert found.mean == pytest.approx(0.6)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_undefined_figures_enter_no_mean_and_are_counted_apart() -> None:
    rows = [row("a", 0.6), row("b", math.nan, state="absent"), row("c", 0.0, state="missed"), row("d", 0.9)]
    summary = summarize(rows)
    assert summary.classes["organ"]["dice"].n == 3
    assert summary.classes["organ"]["dice"].mean == pytest.approx(0.5)
    assert summary.states["organ"] == {"found": 2, "missed": 1, "spurious": 0, "absent": 1}


def test_a_class_no_case_has_leaves_the_mean_over_classes_alone() -> None:
    rows = [row("a", 0.6), row("b", 0.8), row("a", math.nan, "rare", "absent"), row("b", math.nan, "rare", "absent")]
    summary = summarize(rows)
    assert summary.classes["rare"]["dice"].n == 0
    assert math.isnan(summary.classes["rare"]["dice"].mean)
    assert summary.overall["dice"].mean == pytest.approx(0.7)


def test_every_class_weighs_the_same_however_often_it_is_there() -> None:
    rows = [row("a", 0.9), row("b", 0.9), row("c", 0.9), row("a", 0.3, "rare")]
    assert summarize(rows).overall["dice"].mean == pytest.approx(0.6)
    assert mean_dice(rows) == {"a": pytest.approx(0.6), "b": 0.9, "c": 0.9}


def test_tables_say_the_rule_and_hold_every_figure(tmp_path: Path) -> None:
    rows = [row("a", 0.6), row("b", math.nan, state="absent")]
    write_tables(tmp_path / "new", rows, summarize(rows), notes=["1 label had no prediction."])
    page = (tmp_path / "new" / "summary.md").read_text()
    assert STRICT.rule in page
    assert "1 label had no prediction." in page
    with open(tmp_path / "new" / "cases.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["case"], line["class"], line["dice"], line["state"]) for line in lines] == [
        ("a", "organ", "0.6", "found"),
        ("b", "organ", "", "absent"),
    ]
    assert json.loads((tmp_path / "new" / "cases.json").read_text())[1]["dice"] is None
    summary = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert summary["overall"]["dice"] == {"n": 1, "mean": 0.6, "median": 0.6, "sd": None, "low": None, "high": None}
    assert summary["classes"]["organ"]["absent"] == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "cases.csv",
        "cases.json",
        "summary.json",
        "summary.md",
    ]


def test_the_rule_of_the_literature_stands_under_its_tables(tmp_path: Path) -> None:
    rows = [row("a", 0.6)]
    write_tables(tmp_path, rows, summarize(rows, convention="literature"))
    assert LITERATURE.rule in (tmp_path / "summary.md").read_text()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PaucisError, match=r"file/cases\.csv cannot be written"):
        write_tables(tmp_path / "file", [row("a", 0.6)], summarize([row("a", 0.6)]))


def test_nothing_half_written_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("a", 0.6)]

    def fail(self: Path, text: str, encoding: str) -> int:
        with open(self, "w") as file:
            file.write(text[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(PaucisError, match="the disk is full"):
        write_tables(tmp_path, rows, summarize(rows))
    assert list(tmp_path.iterdir()) == []
