"""What ``training.csv`` says of time: of a step with its wait for data, and how much of it the wait is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paucis.engine import callbacks
from paucis.engine.callbacks import Follow
from paucis.engine.config import Config
from paucis.engine.loop import Loop


def test_the_share_of_waiting_is_of_all_the_time_that_steps_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 4 s, of which 3 s pass before the batch is there."""
    rows: list[dict[str, Any]] = []
    record = SimpleNamespace(add=lambda stage, step, figures: rows.append(figures))
    follow = Follow(tmp_path, Config("scans"), [], ["a", "b"], "32-true", record, record, None, None)
    trainer = SimpleNamespace(is_global_zero=True, logger=None)
    loop = Loop.__new__(Loop)
    loop.__dict__.update(
        start=0, done=0, total=99, stage="train", latest={}, method=SimpleNamespace(remark=None), left=0.0, waited=0.0
    )
    now = [100.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: now[0])
    follow.on_train_start(trainer, loop)
    try:
        for step in range(1, 11):
            now[0] += 3.0
            loop.on_train_batch_start(None, step)
            now[0] += 1.0
            loop.__dict__["done"] = step
            follow.on_train_batch_end(trainer, loop, None, None, step)
    finally:
        follow.on_train_end(trainer, loop)
    assert rows == [{"seconds_per_step": pytest.approx(4.0), "waiting_share": pytest.approx(0.75)}]
