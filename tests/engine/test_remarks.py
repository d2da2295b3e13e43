"""What a method remarks of its own training reaches the user, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paucis.engine.callbacks import Follow
from paucis.engine.records import CsvRecord


def test_a_remark_is_said_once_and_again_after_it_was_withdrawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = CsvRecord(tmp_path / "figures.csv")
    follow = Follow(tmp_path, SimpleNamespace(), [], (), "32-true", record, record, None, None)  # type: ignore[arg-type]
    with caplog.at_level("WARNING", logger="paucis"):
        for step, remark in enumerate([None, "it is empty", "it is empty", None, "it is full"]):
            loop: Any = SimpleNamespace(stage="shapes", done=step, method=SimpleNamespace(remark=remark))
            follow._remark(loop)
    assert [entry.message for entry in caplog.records] == [
        "shapes, step 1: it is empty",
        "shapes, step 4: it is full",
    ]
