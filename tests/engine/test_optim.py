from __future__ import annotations

import math

import pytest
import torch

from paucis.engine.config import OptimizerOptions
from paucis.engine.optim import make_optimizer, phase_options, rate
from paucis.methods.base import Clock, Phase


def course(steps: list[int], total: int = 100, **options: object) -> list[float]:
    chosen = OptimizerOptions(rate=1.0, **options)  # type: ignore[arg-type]
    return [rate(chosen, Clock(step, total)) for step in steps]


def test_poly_falls_as_its_formula_says() -> None:
    assert course([0, 50, 99], schedule="poly") == pytest.approx([1.0, 0.5**0.9, 0.01**0.9])


def test_no_schedule_falls_below_its_floor() -> None:
    assert course([99], schedule="poly", floor=0.2) == [0.2]


def test_step_drops_by_its_factor_at_every_share() -> None:
    assert course([0, 39, 40, 79, 80], schedule="step", every=0.4, factor=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_halving_halves() -> None:
    assert course([0, 25, 50, 75], schedule="halving", every=0.25) == [1.0, 0.5, 0.25, 0.125]


def test_cosine_ends_near_zero_after_warmup() -> None:
    values = course([0, 4, 9, 10, 55], schedule="cosine", warmup=0.1)
    assert values[0] == pytest.approx(1 / 11)
    assert values[3] == pytest.approx(1.0)
    assert values[4] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))


def test_schedules_scale_to_the_steps_of_the_stage() -> None:
    assert course([30], total=60) == course([300], total=600)


def test_users_choice_reaches_the_main_phase_only() -> None:
    given = {"optimizer.rate": "0.5", "train.steps": 3}
    main = Phase("main", [], {"rate": 0.1})
    other = Phase("discriminator", [], {"kind": "adam", "rate": 1e-4})
    assert phase_options(main, {}, given).rate == 0.5
    assert phase_options(other, {}, given).rate == 1e-4
    assert phase_options(main, {"rate": 0.3}, {}).rate == 0.1


@pytest.mark.parametrize(
    ("kind", "cls"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_kind_names_the_optimizer(kind: str, cls: type) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    assert type(make_optimizer([parameter], OptimizerOptions(kind=kind))) is cls
