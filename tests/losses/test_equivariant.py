from __future__ import annotations

import math

import pytest
import torch

from paucis.losses import equivariance_loss


def test_it_is_the_mean_over_turns_and_images_of_eq_12() -> None:
    logits = torch.randn(4, 3, 4)  # turn, image, predicted turn
    expected = sum(-float(logits[k, n].log_softmax(0)[k]) for k in range(4) for n in range(3)) / 12
    turns = torch.arange(4).repeat_interleave(3)
    assert float(equivariance_loss(logits.flatten(0, 1), turns)) == pytest.approx(expected, rel=1e-5)


def test_knowing_nothing_costs_ln_4_and_knowing_all_nothing() -> None:
    turns = torch.tensor([0, 1, 2, 3])
    assert float(equivariance_loss(torch.zeros(4, 4), turns)) == pytest.approx(math.log(4))
    assert float(equivariance_loss(50 * torch.eye(4), turns)) == pytest.approx(0.0, abs=1e-6)


def test_it_is_float32_in_half_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert equivariance_loss(torch.randn(2, 4).bfloat16(), torch.tensor([1, 2])).dtype == torch.float32
