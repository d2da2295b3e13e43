"""Rows of landmarks: places as stored, errors in mm, shares on the planned grid, and the accuracy over them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from paucis.data.case import Geometry
from paucis.data.grid import Trace, trace_of
from paucis.evaluation.landmarks import Peak
from paucis.workflows.landmark_rows import Row, accuracies, rows_of, write_accuracy, write_rows

FLAT = trace_of(Geometry(physical=False, dims=2), (1, 40, 60), slice_axis=0, size=(20, 20))
DEEP = trace_of(Geometry(spacing=(3.0, 1.0, 1.0)), (10, 20, 20), spacing=(1.5, 1.0, 1.0))


def peak(*center: float) -> Peak:
    z, y, x = center
    return Peak((int(z), int(y), int(x)), (z, y, x), 0.9, 1.2)


def row(trace: Trace, center: tuple[float, float, float], **true: tuple[float, float, float]) -> Row:
    (one,) = rows_of("a", {"p": peak(*center)}, true, trace, (1, 5, 10) if trace is FLAT else (4, 5, 10), False)
    return one


def test_a_picture_counts_pixels_as_stored_and_shares_of_the_planned_window() -> None:
    found = row(FLAT, (0, 9.5, 4.5), p=(0, 23.5, 20.5))
    assert found.place == pytest.approx((0, 19.5, 14.5))
    assert found.peak == pytest.approx((0, 18.5, 13))
    assert (found.unit, found.dims) == ("pixels", 2)
    assert found.error == pytest.approx(math.hypot(4, 6))
    assert found.share == pytest.approx(math.hypot(2 / 5, 2 / 10))


def test_a_volume_counts_mm() -> None:
    found = row(DEEP, (6.5, 4, 5), p=(2, 4, 9))
    assert found.place == pytest.approx((3, 4, 5))
    assert found.unit == "mm"
    assert found.error == pytest.approx(math.hypot(3, 4))
    assert found.share == pytest.approx(math.hypot(2 / 4, 4 / 10))
    unknown = row(DEEP, (6.5, 4, 5))
    assert math.isnan(unknown.error)
    assert math.isnan(unknown.share)


def test_accuracy_is_of_queries_whose_true_point_is_known() -> None:
    near, far = row(FLAT, (0, 9.5, 4.5), p=(0, 19.5, 15.5)), row(FLAT, (0, 9.5, 4.5), p=(0, 23.5, 20.5))
    rows = [near, far, row(FLAT, (0, 1, 1)), far._replace(support=True), near._replace(landmark="q")]
    found = accuracies(rows)
    assert [found[name].images for name in ("p", "q", "all")] == [2, 1, 3]
    assert found["p"].within == (0.5, 0.5, 0.5, 0.5, 0.5)
    assert found["p"].median == pytest.approx((near.share + far.share) / 2)
    assert found["all"].median == pytest.approx(near.share)
    assert list(accuracies([near])) == ["p"]
    nothing = accuracies([far._replace(support=True)])["p"]
    assert nothing.images == 0
    assert all(math.isnan(value) for value in (*nothing.within, nothing.median))


def test_tables_leave_empty_what_is_unknown(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [row(FLAT, (0, 1, 1)), row(DEEP, (6.5, 4, 5), p=(2, 4, 9))], known=True)
    with (tmp_path / "t.csv").open(newline="") as file:
        flat, deep = csv.DictReader(file)
    assert (flat["z"], flat["peak_z"], flat["error"], flat["share"]) == ("", "", "", "")
    assert (deep["z"], deep["y"], deep["x"], deep["error"]) == ("3.00", "4.00", "5.00", "5")
    write_rows(tmp_path / "u.csv", [row(FLAT, (0, 1, 1))], known=False)
    assert (tmp_path / "u.csv").read_text().splitlines()[0] == "image,landmark,y,x,peak_y,peak_x,similarity,confidence"
    write_accuracy(tmp_path / "a.csv", accuracies([row(FLAT, (0, 1, 1))]))
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "p,0,,,,,,"
