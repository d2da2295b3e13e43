"""What a training will take is measured before it begins, and what to lower is said where it does not fit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paucis.engine.config import Config
from paucis.errors import PaucisError
from paucis.files import write_json
from paucis.workflows import forecast as room
from paucis.workflows.forecast import Measured, forecast, smaller
from paucis.workflows.hooks import Hooks
from paucis.workflows.preparing import planned
from paucis.workflows.rehearsal import CASES, made_up, main
from paucis.workflows.request import asked

SMALL = {"network.features": 4, "data.patch": "16,16,16", "train.steps": 300, "data.workers": 0, "data.validation": 0.4}
LARGER = {**SMALL, "data.patch": "32,32,32"}
MIB = 2**20


def like(bytes_of: Callable[[Config, int], float]) -> Callable[..., Measured]:
    """Stands for the measurement: memory by batch and voxels of a patch."""

    def measure(config: Config, plan, free: int | None) -> Measured:
        batch = config.train.batch_size or plan.batch_size
        return Measured(0.5, 0.25, math.prod(plan.median_shape), bytes_of(config, batch * math.prod(plan.patch)))

    return measure


def test_a_few_steps_of_the_real_engine_are_measured_and_nothing_is_left(phantoms: Path, tmp_path: Path) -> None:
    values = {**SMALL, "method": "mean_teacher", "data.cache": str(tmp_path / "cache")}
    found = forecast(phantoms, values)
    assert (found.method, found.batch_size, found.unlabeled_batch_size) == ("mean_teacher", 8, 8)
    assert found.fits
    assert found.step_seconds is not None
    assert found.memory is not None
    assert 300 * found.step_seconds < found.seconds < 1000 * found.step_seconds
    assert 100 * MIB < found.memory < 4096 * MIB
    assert found.cache > 0
    assert not list(tmp_path.rglob("*.b2nd"))
    found.require()


@pytest.mark.heavy
def test_memory_that_runs_out_ends_the_measurement_not_the_machine(phantoms: Path) -> None:
    config = asked(phantoms, {**SMALL, "data.patch": "96,96,96", "train.batch_size": 8, "network.features": 32})
    assert room._measure(config, planned(config, Hooks()).plan, 600 * MIB) == Measured()


def test_a_training_that_cannot_be_is_refused_as_training_refuses_it(phantoms: Path, tmp_path: Path) -> None:
    config = asked(phantoms, {**SMALL, "train.steps": 1, "init": str(tmp_path / "missing.safetensors")})
    planned(config, Hooks()).plan.save(tmp_path / "plan.json")
    write_json(tmp_path / "job.json", {"config": config.as_dict(), "batch_size": 2, "available": None})
    assert main([str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert not result["exhausted"]
    assert "missing.safetensors" in result["error"]


def test_the_first_smaller_training_that_fits_is_advised(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available", lambda device: 1000 * 32**3)
    for bytes_of, advised in (
        (lambda config, voxels: 200.0 * voxels, {"train.batch_size": "4"}),
        (lambda config, voxels: 800.0 * voxels, {"train.batch_size": "2", "data.patch": "24,24,24"}),
        (lambda config, voxels: 50.0 * voxels * config.network_options["features"] ** 3, None),
    ):
        monkeypatch.setattr(room, "_measure", like(bytes_of))
        found = forecast(phantoms, LARGER)
        assert not found.fits
        if advised is None:
            assert "network.features" in found.lower
            continue
        assert found.lower == advised
        assert found.lowered <= 1000 * 32**3
        with pytest.raises(PaucisError, match=r"with train\.batch_size="):
            found.require()
    monkeypatch.setattr(room, "_measure", lambda *_: Measured())
    found = forecast(phantoms, LARGER)
    assert (found.lower, found.memory, found.seconds) == ({}, None, None)
    with pytest.raises(PaucisError, match="choose a smaller network"):
        found.require()


def test_the_time_of_a_run_is_that_of_its_steps_and_validations(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_measure", like(lambda config, voxels: 1.0))
    found = forecast(phantoms, {**SMALL, "validation.every": 100, "validation.cases": 1})
    assert found.validations == 3
    assert found.seconds == pytest.approx(300 * 0.5 + 3 * 0.25)


def test_each_smaller_training_asks_for_less(phantoms: Path) -> None:
    config = asked(phantoms, LARGER)
    plan = planned(config, Hooks()).plan
    sizes = [
        (c.train.batch_size or plan.batch_size) * math.prod(p.patch) * c.network_options["features"]
        for c, p, _ in smaller(config, plan)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 3
    assert sizes[0] < 8 * 32**3 * 4


def test_made_up_cases_hold_every_class_and_are_little_larger_than_a_crop(phantoms: Path, tmp_path: Path) -> None:
    plan = planned(asked(phantoms, SMALL), Hooks()).plan
    cases = made_up(tmp_path, plan)
    assert len(cases) == 2 * CASES
    assert np.unique(cases[0].label[:]).tolist() == list(range(len(plan.classes)))
    assert np.unique(cases[0].positions[:, 0]).tolist() == list(range(1, len(plan.classes)))
    assert all(size <= 2 * window for size, window in zip(cases[0].shape, plan.window, strict=True))
    assert cases[0].image.shape == (1, *cases[0].shape)
