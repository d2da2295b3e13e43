from __future__ import annotations

import numpy as np
import pytest
import torch
from known_methods import Pointwise, Positional

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.inference.windows import MEMBER, method_slabs, segment, window_predict
from paucis.options import build


def volume(shape=(11, 13, 15)):
    return np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)


def test_segment_of_a_pointwise_method_is_its_largest_logit(task3):
    image = volume()
    expected = np.where(image[0] > 0, 1, 2)  # logits 0, x, -x
    assert np.array_equal(segment(image, Pointwise(task3), task3), expected)


def test_a_2d_method_sees_slices_without_z():
    task = Task(2, 1, 3, (8, 8))
    method = Pointwise(task)
    image = volume((5, 8, 8))
    assert np.array_equal(segment(image, method, task), np.where(image[0] > 0, 1, 2))
    assert method.seen == [(5, 1, 8, 8)]


def test_flips_make_a_symmetric_answer_of_a_lopsided_method(task3):
    image = volume((8, 12, 10))
    options = PredictOptions(flips=True)

    def of(array):
        parts = method_slabs(array, Positional(task3), task3, options)
        return torch.cat([part.maps["probabilities"] for part in parts], 1)

    mirrored = of(np.ascontiguousarray(image[..., ::-1])).flip(-1)
    torch.testing.assert_close(mirrored, of(image))
    single = torch.cat(
        [p.maps["probabilities"] for p in method_slabs(image, Positional(task3), task3, PredictOptions())], 1
    )
    assert not torch.allclose(single, of(image), atol=1e-2)


def test_flips_follow_only_the_axes_that_the_plan_allows(task3):
    method = Pointwise(task3)
    window_predict(method, task3, PredictOptions(flips=True))(torch.zeros(1, 1, 8, 12, 10))
    assert len(method.seen) == 4  # axes 0 and 2
    still = Pointwise(Task(3, 1, 3, (8, 12, 10), flips=()))
    window_predict(still, still.task, PredictOptions(flips=True))(torch.zeros(1, 1, 8, 12, 10))
    assert len(still.seen) == 1


def test_only_the_maps_that_were_asked_for_are_made(task3):
    method, windows = Pointwise(task3, extra=True), torch.randn(1, 1, 8, 12, 10)

    def names(*maps):
        return set(window_predict(method, task3, PredictOptions(maps=maps))(windows))

    assert names("entropy") == {"probabilities"}
    assert names("own") == {"probabilities", "aleatoric"}
    assert names("members") == {"probabilities", f"{MEMBER}auxiliary"}


def test_no_gradient_is_recorded(task3):
    class Trainable(Pointwise):
        def __init__(self, task):
            super().__init__(task)
            self.scale = torch.nn.Parameter(torch.ones(()))

        def probabilities(self, images):
            return super().probabilities(images * self.scale)

    maps = window_predict(Trainable(task3), task3, PredictOptions())(torch.zeros(1, 1, 8, 12, 10))
    assert not maps["probabilities"].requires_grad


def test_another_number_of_channels_is_refused(task3):
    with pytest.raises(PaucisError, match=r"2 channel.*trained on 1"):
        segment(np.zeros((2, 8, 8, 8), np.float32), Pointwise(task3), task3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stride": "4,4"}, "predict.stride needs 3 numbers"),
        ({"stride": "4,4,11"}, "leaves voxels out"),
    ],
)
def test_strides_that_do_not_fit_the_patch_are_refused(task3, given, message):
    options = build(PredictOptions, given, "predict.")
    with pytest.raises(PaucisError, match=message):
        next(method_slabs(volume(), Pointwise(task3), task3, options))


@pytest.mark.parametrize("given", [{"weighting": "gausian"}, {"overlap": "1.5"}, {"stride": "0"}, {"maps": "entropi"}])
def test_options_out_of_range_are_refused(given):
    with pytest.raises(PaucisError, match=f"predict.{next(iter(given))}"):
        build(PredictOptions, given, "predict.")
