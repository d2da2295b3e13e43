from __future__ import annotations

import math

import pytest
import torch

from paucis.data.case import Geometry
from paucis.inference.scores import CaseScores


def test_scores_equal_those_computed_by_hand():
    scores = CaseScores(4, Geometry(spacing=(2.0, 0.5, 0.5)))
    first = torch.tensor([[0.9, 0.1, 0.0, 0.0], [0.2, 0.6, 0.1, 0.1], [0.2, 0.8, 0.0, 0.0]]).T[:, None, None]
    second = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.3, 0.2, 0.1, 0.4], [0.2, 0.1, 0.2, 0.5]]).T[:, None, None]
    scores.add(torch.tensor([[[0, 1, 1]]]), first, torch.tensor([[[0.1, 0.5, 0.3]]]))
    scores.add(torch.tensor([[[1, 3, 3]]]), second, torch.tensor([[[0.0, 1.0, 0.8]]]))
    background, first, second, third = scores.table()
    assert scores.unit == "mL"
    assert (background.voxels, first.voxels, second.voxels, third.voxels) == (1, 3, 0, 2)
    assert first.volume == pytest.approx(3 * 0.5 / 1000)
    assert first.confidence == pytest.approx((0.6 + 0.8 + 1.0) / 3)
    assert first.entropy == pytest.approx((0.5 + 0.3 + 0.0) / 3)
    assert third.entropy == pytest.approx(0.9)
    assert second.volume == 0
    assert math.isnan(second.confidence)
    assert math.isnan(second.entropy)
    assert first.score == pytest.approx(2 * 2.4 / (3 + 2.8))
    assert second.score == pytest.approx(1 - 0.2)  # nothing of it predicted: the chance that this is right
    assert (first.low, first.high) == pytest.approx((1 * 0.5 / 1000, 6 * 0.5 / 1000))


def test_files_without_lengths_are_measured_in_pixels():
    scores = CaseScores(2, Geometry(physical=False, suffix=".png", dims=2))
    scores.add(torch.ones(1, 3, 4, dtype=torch.long), torch.ones(2, 1, 3, 4), torch.zeros(1, 3, 4))
    assert scores.unit == "pixels"
    assert scores.table()[1].volume == 12


def test_sums_over_many_voxels_do_not_lose_precision():
    scores = CaseScores(2, Geometry())
    mask, probabilities = torch.ones(1, 500, 500, dtype=torch.uint8), torch.full((2, 1, 500, 500), 0.1)
    for _ in range(40):
        scores.add(mask, probabilities, torch.zeros(1, 500, 500))
    assert scores.table()[1].confidence == pytest.approx(0.1, rel=1e-6)
