"""Schedules of a loss weight: all of them, once. Each maps a share of the training in [0, 1] to a factor in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable


def gaussian(fraction: float) -> float:
    """``exp(-5 (1 - t)^2)``: 0.0067 at the start, 1 at the end; the literature's "sigmoid" ramp-up.

    Args:
        fraction: t, clipped to [0, 1].

    Reference:
        S. Laine, T. Aila: Temporal ensembling for semi-supervised learning. ICLR 2017.
    """
    return math.exp(-5.0 * (1.0 - _clip(fraction)) ** 2)


def linear(fraction: float) -> float:
    """``t``, clipped to [0, 1]."""
    return _clip(fraction)


def constant(fraction: float) -> float:
    """1 at all times."""
    return 1.0


def staircase(fraction: float, stairs: int) -> float:
    """``t`` rounded down to a multiple of ``1 / stairs``, for schedules that move only now and then.

    The semi-supervised literature moves its ramp every 150 iterations: ``stairs = 200`` in 30,000 iterations.

    Args:
        fraction: t, clipped to [0, 1].
        stairs: equal steps that the whole ramp has, at least 1.
    """
    # the nudge keeps 0.3 * 10 from falling to 2
    return _clip(math.floor(_clip(fraction) * stairs + 1e-9) / stairs)


RAMPS: dict[str, Callable[[float], float]] = {"gaussian": gaussian, "linear": linear, "constant": constant}


def ramp(kind: str, step: int, length: float) -> float:
    """The factor after ``step`` steps of a ramp that is ``length`` steps long; 1 at once where the length is 0.

    Args:
        kind: a name in ``RAMPS``.
        step: steps done; negative before the ramp begins.
        length: steps of the whole ramp.
    """
    return RAMPS[kind](step / length if length > 0 else 1.0)


def weight(kind: str, fraction: float, share: float = 1.0, start: float = 0.0) -> float:
    """The factor of a ramp that begins after ``start`` and takes ``share`` of the training; 0 before it begins.

    Args:
        kind: a name in ``RAMPS``.
        fraction: share of the training that lies behind (``clock.fraction``).
        share: share of the training that the ramp takes; 0 jumps to 1 where it begins.
        start: share of the training before the ramp begins.
    """
    if fraction < start:
        return 0.0
    return RAMPS[kind]((fraction - start) / share if share > 0 else 1.0)


def _clip(fraction: float) -> float:
    return min(max(fraction, 0.0), 1.0)
