from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paucis.errors import PaucisError
from paucis.evaluation.reliability.calibration import fit_temperature
from paucis.uncertainty import tempered


def stated(logit: float, right: int, of: int) -> tuple[np.ndarray, np.ndarray]:
    """``of`` voxels of two classes, each as sure as the logit, of which ``right`` are right."""
    p = 1 / (1 + math.exp(-logit))
    return np.tile([1 - p, p], (of, 1)), (np.arange(of) < right).astype(int)


@pytest.mark.parametrize(("logit", "right"), [(4.0, 80), (4.0, 60), (1.0, 95)])
def test_the_temperature_makes_the_answer_as_sure_as_it_is_right(logit: float, right: int) -> None:
    """With one logit z and a share a of right answers, sigmoid(z / T) = a has one solution."""
    p, y = stated(logit, right, 100)
    fit = fit_temperature(p, y)
    share = right / 100
    assert fit.temperature == pytest.approx(logit / math.log(share / (1 - share)), rel=1e-3)
    assert fit.after == pytest.approx(-(share * math.log(share) + (1 - share) * math.log(1 - share)), rel=1e-5)
    assert fit.before >= fit.after


def test_weights_count_voxels_more_than_once() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 60)
    y, weights = (p.cumsum(1) > rng.random((60, 1))).argmax(1), rng.integers(1, 4, 60)
    repeated = fit_temperature(np.repeat(p, weights, 0), np.repeat(y, weights))
    assert fit_temperature(p, y, weights).temperature == pytest.approx(repeated.temperature, rel=1e-3)


def test_the_true_temperature_of_made_up_voxels_is_found() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20000, 4))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = (true.cumsum(1) > rng.random((20000, 1))).argmax(1)
    sharp = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(1, keepdims=True)
    assert fit_temperature(sharp, y).temperature == pytest.approx(2.5, rel=0.05)


def test_what_no_temperature_betters_is_refused() -> None:
    with pytest.raises(PaucisError, match="no temperature fits"):
        fit_temperature(*stated(2.0, 50, 50))
    with pytest.raises(PaucisError, match="softer"):
        fit_temperature(*stated(2.0, 20, 50))
    with pytest.raises(PaucisError, match="no voxels"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))


def test_tempered_probabilities_are_the_softmax_of_the_logits_over_t() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tempered(logits.softmax(1), 1.7, dim=1), (logits / 1.7).softmax(1))
    assert torch.equal(tempered(logits.softmax(1), 0.3, dim=1).argmax(1), logits.argmax(1))
    sure = torch.tensor([1.0, 0.0])
    assert torch.equal(tempered(sure, 1.0), sure)
    assert torch.isfinite(tempered(sure, 5.0)).all()
