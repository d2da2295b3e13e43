from __future__ import annotations

import math

import pytest

from paucis.methods.parts.ramps import RAMPS, constant, gaussian, linear, ramp, staircase, weight


def test_values_in_closed_form() -> None:
    assert gaussian(0.0) == pytest.approx(math.exp(-5))
    assert gaussian(0.5) == pytest.approx(math.exp(-1.25))
    assert gaussian(1.0) == 1.0
    assert [linear(t) for t in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]
    assert constant(0.0) == 1.0


@pytest.mark.parametrize("kind", list(RAMPS))
def test_ramps_never_fall_stay_in_range_and_end_at_one(kind: str) -> None:
    values = [RAMPS[kind](t / 50) for t in range(-5, 60)]
    assert values == sorted(values)
    assert min(values) >= 0
    assert values[-1] == RAMPS[kind](1.0) == 1.0


def test_a_staircase_moves_only_at_its_stairs() -> None:
    assert [staircase(t / 10, 10) for t in range(11)] == pytest.approx([t / 10 for t in range(11)])
    assert staircase(0.19999, 10) == pytest.approx(0.1)
    # the literature: e = floor(iteration / 150) of 200
    assert gaussian(staircase(14999 / 30000, 200)) == pytest.approx(math.exp(-5 * (1 - 99 / 200) ** 2))
    assert staircase(2.0, 4) == 1.0


def test_a_ramp_of_steps_is_the_ramp_of_its_share() -> None:
    assert ramp("gaussian", 30, 120) == gaussian(0.25)
    assert ramp("linear", 500, 100) == 1.0
    assert ramp("linear", 0, 0) == 1.0


def test_a_weight_starts_late_and_takes_its_share() -> None:
    assert weight("linear", 0.09, share=0.5, start=0.1) == 0.0
    assert weight("gaussian", 0.09, share=0.5, start=0.1) == 0.0
    assert weight("linear", 0.35, share=0.5, start=0.1) == pytest.approx(0.5)
    assert weight("gaussian", 0.6, share=0.5, start=0.1) == pytest.approx(1.0)
    assert weight("gaussian", 0.1, share=0.0, start=0.1) == 1.0
