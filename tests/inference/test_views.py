from __future__ import annotations

import torch

from paucis.inference.views import DISAGREEMENT, flip_views, with_flips
from paucis.uncertainty.entropy import mutual_information


def lopsided(windows):
    ramp = torch.linspace(0, 3, windows.shape[-1])
    logits = torch.cat([windows, windows * ramp], 1)
    return {"probabilities": logits.softmax(1), "own": windows + ramp}


def test_every_combination_of_axes_is_a_view():
    assert flip_views((0, 2)) == [(), (0,), (2,), (0, 2)]
    assert len(flip_views((0, 1, 2))) == 8


def test_the_mean_of_mirrored_views_is_equivariant():
    windows = torch.randn(2, 1, 4, 5, 6)
    predict = with_flips(lopsided, (2,))
    assert not torch.allclose(lopsided(windows.flip(-1))["own"].flip(-1), lopsided(windows)["own"])
    for name in ("probabilities", "own"):
        torch.testing.assert_close(predict(windows.flip(-1))[name].flip(-1), predict(windows)[name])


def test_views_equal_a_loop_over_them():
    windows = torch.randn(2, 1, 7, 6)
    expected = (lopsided(windows)["probabilities"] + lopsided(windows.flip(3))["probabilities"].flip(3)) / 2
    torch.testing.assert_close(with_flips(lopsided, (1,))(windows)["probabilities"], expected)


def test_disagreement_is_the_mutual_information_between_views():
    windows = torch.randn(1, 1, 7, 6)
    result = with_flips(lopsided, (1,), disagreement=True)(windows)
    views = [lopsided(windows)["probabilities"], lopsided(windows.flip(3))["probabilities"].flip(3)]
    torch.testing.assert_close(result[DISAGREEMENT][:, 0], mutual_information(torch.stack(views), normalized=True))
    assert result[DISAGREEMENT].max() > 0.01


def test_a_symmetric_prediction_has_no_disagreement():
    def symmetric(windows):
        return {"probabilities": torch.cat([windows, -windows], 1).softmax(1)}

    result = with_flips(symmetric, (0, 1), disagreement=True)(torch.randn(1, 1, 7, 6))
    assert result[DISAGREEMENT].max() < 1e-6
