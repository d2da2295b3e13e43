from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from paucis.data.case import Geometry, Volume
from paucis.data.intensity import Normalization
from paucis.data.plan import Plan
from paucis.errors import PaucisError
from paucis.inference.figures import check_draws, lattice, mean_features, voxel_figures
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import predict_case
from paucis.methods.base import Method, Prediction


class Shade(Method):
    """Class 1 where the image is bright; features are the image and its square."""

    def __init__(self, task: Any, sharpness: float = 3.0) -> None:
        torch.nn.Module.__init__(self)
        self.task, self.sharpness = task, sharpness

    def predict(self, images):
        return Prediction({"probabilities": (torch.cat([-images, images], 1) * self.sharpness).softmax(1)})

    def embed(self, images):
        return torch.cat([images, images**2], 1)


def member(flips: tuple[int, ...] = (), sharpness: float = 3.0) -> Any:
    plan = Plan(
        ndim=3,
        channels=("0",),
        classes=("background", "bright"),
        values=(0, 1),
        orientation="LPS",
        slice_axis=None,
        spacing=(1.0, 1.0, 1.0),
        size=None,
        normalization=(Normalization("dataset", 0.0, 1.0),),
        median_shape=(8, 8, 8),
        patch=(4, 4, 4),
        strides=((1, 1, 1),),
        batch_size=2,
        flips=flips,
    )
    method = Shade(plan.task(), sharpness).eval()
    return SimpleNamespace(plan=plan, task=plan.task(), method=method, device="cpu", autocast=nullcontext)


def volume(physical: bool = True) -> Volume:
    array = np.random.default_rng(0).normal(size=(1, 6, 7, 9)).astype(np.float32)
    return Volume(array, Geometry(spacing=(1.0, 1.0, 1.0), physical=physical))


def test_figures_are_means_over_all_voxels() -> None:
    scan, members = volume(), [member(), member(sharpness=1.0)]
    maps = ("entropy", "mutual_information")
    found = voxel_figures(members, scan, PredictOptions(), maps)
    whole = predict_case(members, scan, PredictOptions(maps=maps))
    assert found["entropy"] == pytest.approx(float(whole.maps["entropy"].mean()), rel=1e-5)
    assert found["mutual_information"] == pytest.approx(float(whole.maps["mutual_information"].mean()), rel=1e-5)
    assert found["foreground"] == pytest.approx((scan.array > 0).sum() / 1000)


def test_without_lengths_the_foreground_is_a_share_of_the_image() -> None:
    scan = volume(physical=False)
    assert voxel_figures([member()], scan, PredictOptions())["foreground"] == pytest.approx((scan.array > 0).mean())


def test_features_are_the_mean_of_every_members_own() -> None:
    scan = volume()
    found = mean_features([member(), member()], scan)
    one = [scan.array.mean(), (scan.array**2).mean()]
    np.testing.assert_allclose(found, one * 2, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 9), (40, 50, 36), (1, 300, 200)])
def test_a_lattice_is_even_inside_and_no_larger_than_asked(shape: tuple[int, int, int]) -> None:
    found = lattice(shape, 500)
    assert 0 < len(found) <= 500
    assert (found >= 0).all()
    assert (found < np.array(shape)).all()
    assert len(np.unique(found, axis=0)) == len(found)
    for axis, size in enumerate(shape):
        places = np.unique(found[:, axis])
        assert len(np.unique(np.diff(places))) <= 1
        assert abs(places[0] - (size - 1 - places[-1])) <= 1  # in the middle
    if np.prod(shape) <= 500:
        assert len(found) == np.prod(shape)


def test_mutual_information_is_refused_of_a_single_draw() -> None:
    for members, options in (
        ([member()], PredictOptions()),
        ([member()], PredictOptions(flips=True)),  # a plan that mirrors nothing
    ):
        with pytest.raises(PaucisError, match="several draws"):
            check_draws(members, options)
    check_draws([member(), member()], PredictOptions())
    check_draws([member()], PredictOptions(dropout=2))
    check_draws([member(flips=(2,))], PredictOptions(flips=True))
