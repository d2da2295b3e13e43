from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paucis.errors import PaucisError
from paucis.evaluation.comparison.pictures import telling_cases
from paucis.evaluation.comparison.rows import Results, align, check_metrics, read_results, together
from paucis.evaluation.comparison.statistics import bootstrap_interval, holm
from paucis.evaluation.comparison.tables import MEAN, lines_of, tally_of, write_comparison

COLUMNS = ("case", "group", "class", "state", "dice", "hd95", "volume_reference", "unit")


def table(path: Path, rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return path


def scored(path: Path, dice: np.ndarray, groups: list[str] | None = None) -> Results:
    """A table of cases by classes."""
    rows = [
        (f"c{i}", groups[i] if groups else "", f"k{k}", "found", value, 10 * (1 - value), 5 + i, "mm")
        for i, line in enumerate(dice)
        for k, value in enumerate(line)
    ]
    return read_results(path.stem, table(path, rows), ("dice", "hd95"))


def test_the_figures_are_those_of_scipy_and_of_a_naive_loop(tmp_path: Path) -> None:
    a, b, c = np.random.default_rng(0).random((3, 9, 2))
    sets = [scored(tmp_path / f"{n}.csv", values) for n, values in (("a", a), ("b", b), ("c", c))]
    shared, lone = together(sets, partial=False)
    assert (len(shared), lone) == (9, [])
    lines = {(line.label, line.name): line for line in lines_of("dice", align(sets, shared, "dice"), "abc", 0)}
    assert set(lines) == {(label, name) for label in (MEAN, "k0", "k1") for name in "bc"}
    p = [stats.wilcoxon(other[:, 1], a[:, 1]).pvalue for other in (b, c)]
    assert [lines["k1", name].comparison.p for name in "bc"] == pytest.approx(p)
    assert [lines["k1", name].comparison.adjusted for name in "bc"] == pytest.approx(holm(p))
    over = lines[MEAN, "b"]
    assert over.comparison.difference == pytest.approx((b - a).mean())
    assert (over.comparison.low, over.comparison.high) == pytest.approx(bootstrap_interval((b - a).mean(1)))
    wins = sum(1 for i in range(9) if b[i].mean() > a[i].mean())
    assert over.tally == (wins, 0, 9 - wins)
    assert over.mean == pytest.approx(b.mean())


def test_less_is_better_for_distances_and_ties_have_a_margin(tmp_path: Path) -> None:
    sets = [scored(tmp_path / f"{i}.csv", np.array(v)[:, None]) for i, v in enumerate(([0.5] * 4, [0.6, 0.5, 0.45, 0]))]
    shared, _ = together(sets, partial=False)
    for metric, tie, expected in (("dice", 0, (1, 1, 2)), ("hd95", 0, (1, 1, 2)), ("dice", 0.06, (1, 2, 1))):
        (line,) = lines_of(metric, align(sets, shared, metric), ["x", "y"], 0, tie)
        assert line.tally == expected
    assert tally_of([0.2, -0.1], more_is_better=False) == (1, 0, 1)


def test_several_scans_of_a_patient_are_one_unit_of_the_test(tmp_path: Path) -> None:
    groups = ["p", "p", "q"]
    sets = [
        scored(tmp_path / "a.csv", np.array([[0.1], [0.3], [0.6]]), groups),
        scored(tmp_path / "b.csv", np.array([[0.2], [0.4], [0.9]]), groups),
    ]
    (line,) = lines_of("dice", align(sets, ["c0", "c1", "c2"], "dice"), "ab", 0)
    assert (line.comparison.n, line.cases) == (2, 3)
    assert line.comparison.difference == pytest.approx((0.1 + 0.3) / 2)


def test_what_is_rightly_absent_beats_what_is_spurious(tmp_path: Path) -> None:
    rows = [("one", "", "k", "found", 0.5, 3, 5, "mm"), ("two", "", "k", "{}", "{}", "{}", 0, "mm")]
    a = [rows[0], ("two", "", "k", "absent", "", "", 0, "mm"), ("three", "", "k", "absent", "", "", 0, "mm")]
    b = [rows[0], ("two", "", "k", "spurious", 0, 40, 0, "mm"), ("three", "", "k", "absent", "", "", 0, "mm")]
    sets = [read_results(n, table(tmp_path / n, r), ("dice", "hd95")) for n, r in (("a", a), ("b", b))]
    shared, _ = together(sets, partial=False)
    assert align(sets, shared, "dice").per_case(0) == pytest.approx(
        {"one": 0.5, "two": 1.0, "three": math.nan}, nan_ok=True
    )
    assert align(sets, shared, "hd95").per_case(0)["two"] == 0
    (line,) = lines_of("dice", align(sets, shared, "dice"), "ab", 0)
    assert line.tally == (0, 1, 1)
    assert line.comparison.n == 2


def test_means_are_over_classes_that_all_sets_have_a_figure_of(tmp_path: Path) -> None:
    a = scored(tmp_path / "a.csv", np.array([[0.2, 0.8]]))
    b = scored(tmp_path / "b.csv", np.array([[0.4, math.nan]]))
    one = align([a, b], ["c0"], "dice")
    assert (one.per_case(0)["c0"], one.per_case(1)["c0"]) == pytest.approx((0.2, 0.4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: [(*row[:2], "other", *row[3:]) for row in r], "the same classes"),
        (lambda r: [(*row[:7], "voxel") for row in r], "one convention"),
        (lambda r: [(*row[:6], 9, "mm") for row in r], "same references"),
        (lambda r: [("new", *row[1:]) for row in r], "share no case"),
        (lambda r: [*r, ("more", *r[0][1:])], "lacks the case more"),
        (lambda r: r * 2, "there twice"),
        (lambda r: [], "holds no cases"),
        (lambda r: [(*row[:4], "much", *row[5:]) for row in r], "no number for dice"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused_in_one_line(tmp_path: Path, change: object, message: str) -> None:
    rows = [("one", "", "k", "found", 0.5, 3, 5, "mm")]
    first = read_results("a", table(tmp_path / "a.csv", rows), ("dice",))
    with pytest.raises(PaucisError, match=message) as caught:
        together([first, read_results("b", table(tmp_path / "b.csv", change(rows)), ("dice",))], partial=False)  # type: ignore[operator]
    assert str(tmp_path) in str(caught.value)


def test_a_metric_without_a_better_side_is_refused() -> None:
    with pytest.raises(PaucisError, match="must be one of"):
        check_metrics(["volume_difference"])


def test_the_cases_shown_are_the_ends_and_the_middle() -> None:
    ours, theirs = {"a": 0.1, "b": 0.5, "c": 0.9}, {"a": 0.4, "b": 0.5, "c": 0.6}
    assert telling_cases(ours, theirs) == [("largest loss", "a"), ("median difference", "b"), ("largest gain", "c")]
    assert telling_cases(ours, theirs, more=False)[0] == ("largest loss", "c")
    assert telling_cases({"a": 0.1}, {"a": 0.2}) == [("case", "a")]


def test_differences_are_written_case_by_case(tmp_path: Path) -> None:
    sets = [scored(tmp_path / f"{i}.csv", np.array(v)[:, None]) for i, v in enumerate(([0.5, 0.5], [0.6, 0.5]))]
    one = align(sets, ["c0", "c1"], "dice")
    write_comparison(tmp_path / "out", lines_of("dice", one, "ab", 0), {"dice": one}, "ab", 0, "mm")
    with (tmp_path / "out" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["outcome"], float(row["difference"])) for row in rows] == [
        ("c0", "win", 0.1),
        ("c1", "tie", 0.0),
    ]
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| k0 | b | 2 | 0.550 | 0.500 | 0.050 [0.000, 0.100] |" in text
    assert "With 2 patients p cannot be below 0.5" in text
