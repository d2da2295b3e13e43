from __future__ import annotations

from pathlib import Path

from paucis.engine.records import CsvRecord


def test_a_new_column_leaves_blanks_above_it(tmp_path: Path) -> None:
    record = CsvRecord(tmp_path / "a.csv")
    record.add("train", 1, {"loss": 0.5})
    record.add("train", 2, {"loss": 0.25, "extra": 1.0})
    assert (tmp_path / "a.csv").read_text() == "stage,step,loss,extra\ntrain,1,0.5,\ntrain,2,0.25,1\n"


def test_rows_after_the_step_resumed_from_are_dropped(tmp_path: Path) -> None:
    record = CsvRecord(tmp_path / "a.csv")
    for step in (1, 2, 3):
        record.add("first", step, {"loss": float(step)})
    record.add("second", 1, {"loss": 9.0})
    again = CsvRecord(tmp_path / "a.csv")
    again.cut("first", 2)
    again.add("first", 3, {"loss": 7.0})
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["stage,step,loss", "first,1,1", "first,2,2", "second,1,9", "first,3,7"]
