"""Temperature scaling: one number that makes probabilities as sure as they are right, fitted on cases with labels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import log_softmax, logsumexp

from paucis.errors import PaucisError

RANGE = (0.05, 20.0)
"""Temperatures that are looked at."""

_TINY = 1e-38  # a probability of 0 would be worth an infinite loss


class Fit(NamedTuple):
    """A fitted temperature.

    Attributes:
        temperature: above 1 where the probabilities were too sure.
        before: mean negative log-likelihood at temperature 1, in nats.
        after: at the fitted one.
    """

    temperature: float
    before: float
    after: float


def fit_temperature(probabilities: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any] | None = None) -> Fit:
    """The T that minimizes ``-mean log softmax(log p / T)_y``; the loss is convex in 1/T, so it is the only one.

    Args:
        probabilities: (N, K), each row summing to 1.
        labels: (N,) class indices.
        weights: (N,) of the voxels; None weighs all alike.

    Raises:
        PaucisError: no voxels, or all are predicted rightly however sharp (or wrongly however soft) the answer.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On calibration of modern neural networks. ICML, 2017.
    """
    if len(labels) == 0:
        raise PaucisError("no voxels to fit a temperature on: give cases with labels")
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY))
    loss = _Loss(logs, np.asarray(labels, np.int64), weights)
    low, high = math.log(RANGE[0]), math.log(RANGE[1])
    found = optimize.minimize_scalar(
        lambda s: loss(math.exp(s)), bounds=(low, high), method="bounded", options={"xatol": 1e-5}
    )
    endless = "sharper" if loss.faultless or found.x - low < 1e-3 else "softer" if high - found.x < 1e-3 else ""
    if endless:
        raise PaucisError(
            f"no temperature fits: the {endless} the answer, the better, on {len(labels)} voxels; take other cases"
        )
    return Fit(math.exp(found.x), loss(1.0), float(found.fun))


class _Loss:
    """Mean negative log-likelihood as a function of the temperature."""

    def __init__(self, logs: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[Any] | None) -> None:
        self.logs = log_softmax(logs, axis=1)
        self.right = self.logs[np.arange(len(labels)), labels]
        self.weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)

    @property
    def faultless(self) -> bool:
        """Whether the right class is the likeliest everywhere: the loss then falls to 0 with the temperature."""
        return bool((self.right >= self.logs.max(axis=1)).all())

    def __call__(self, temperature: float) -> float:
        losses = logsumexp(self.logs / temperature, axis=1) - self.right / temperature
        return float(np.average(losses, weights=self.weights))
