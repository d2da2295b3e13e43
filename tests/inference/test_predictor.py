from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from known_methods import Positional, member_of, plan_of

from paucis.data.case import Geometry, Volume
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import predict_case

PICTURE = Geometry(physical=False, suffix=".png", dims=2)
TURNED = (0.0, -1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0)  # columns: where the array's x, y, z axes point


def noise(shape=(20, 18, 22), geometry=None, channels=1):
    array = np.random.default_rng(3).normal(size=(channels, *shape)).astype(np.float32)
    return Volume(array, geometry or Geometry())


def probabilities(x, sharpness=1.0):
    logits = sharpness * np.stack([0 * x, x, -x])
    exponents = np.exp(logits - logits.max(0))
    return exponents / exponents.sum(0)


def entropy(p):
    return -(p * np.log(p)).sum(0) / math.log(len(p))


@pytest.mark.parametrize("geometry", [Geometry(), Geometry(direction=TURNED)])
def test_mask_and_maps_are_those_of_the_formula_in_the_files_axes(geometry):
    volume = noise(geometry=geometry)
    result = predict_case([member_of(plan_of())], volume)
    p = probabilities(volume.array[0].astype(np.float64))
    assert result.mask.dtype == np.uint8
    assert np.array_equal(result.mask, p.argmax(0))
    assert set(result.maps) == {"entropy", "confidence"}
    np.testing.assert_allclose(result.maps["confidence"], p.max(0), atol=1e-5)
    np.testing.assert_allclose(result.maps["entropy"], entropy(p), atol=1e-5)


def test_scores_are_those_of_the_mask_and_the_maps():
    volume = noise(geometry=Geometry(spacing=(2.0, 1.0, 0.5)))
    result = predict_case([member_of(plan_of(spacing=(2.0, 1.0, 0.5)))], volume)
    for label in (1, 2):
        region, score = result.mask == label, result.scores[label]
        assert score.volume == pytest.approx(region.sum() / 1000)
        assert score.confidence == pytest.approx(result.maps["confidence"][region].mean(), rel=1e-4)
        assert score.entropy == pytest.approx(result.maps["entropy"][region].mean(), rel=1e-4)


def test_a_mask_lies_on_the_scans_grid_whatever_the_plans_spacing():
    z, y, x = np.meshgrid(*(np.arange(n) for n in (30, 40, 50)), indexing="ij")
    ball = (z - 14) ** 2 + (y - 18) ** 2 + (x - 30) ** 2 < 11**2
    volume = Volume(np.where(ball, 1.0, -1.0)[None].astype(np.float32), Geometry(spacing=(1.0, 0.7, 0.9)))
    result = predict_case([member_of(plan_of(spacing=(1.3, 1.0, 1.0)), sharpness=5.0)], volume)
    predicted = result.mask == 1
    assert predicted.shape == ball.shape
    assert 2 * (predicted & ball).sum() / (predicted.sum() + ball.sum()) > 0.97
    for axis in range(3):  # a half-voxel mistake would shift it by 0.2
        assert np.nonzero(predicted)[axis].mean() == pytest.approx(np.nonzero(ball)[axis].mean(), abs=0.1)


def test_the_axes_of_the_file_do_not_change_what_is_seen():
    """The same scene stored in two orders, through a method that knows left from right."""
    straight = noise()
    member = member_of(plan_of(), Positional)
    stored = Volume(
        np.ascontiguousarray(straight.array[:, ::-1, :, ::-1]), Geometry(direction=(-1, 0, 0, 0, 1, 0, 0, 0, -1))
    )
    first, second = (predict_case([member], volume) for volume in (straight, stored))
    assert not np.array_equal(first.mask, first.mask[::-1, :, ::-1])
    np.testing.assert_array_equal(second.mask[::-1, :, ::-1], first.mask)
    np.testing.assert_allclose(second.maps["entropy"][::-1, :, ::-1], first.maps["entropy"], atol=1e-6)


def test_2d_plans_predict_stacks_slice_by_slice():
    plan = plan_of(2, patch=(16, 16))
    member = member_of(plan)
    volume = noise((6, 16, 16), Geometry(spacing=(10.0, 1.0, 1.0)))
    result = predict_case([member], volume)
    assert np.array_equal(result.mask, probabilities(volume.array[0]).argmax(0))
    assert member.method.seen == [(6, 1, 16, 16)]


def test_pictures_are_predicted_in_pixels():
    volume = noise((1, 30, 41), PICTURE, channels=3)
    result = predict_case([member_of(plan_of(2, channels=3, orientation="stored"))], volume)
    assert result.mask.shape == (1, 30, 41)
    assert result.unit == "pixels"
    assert result.scores[1].volume == (volume.array[0] > 0).sum()


def test_an_ensemble_averages_and_tells_its_disagreement():
    volume = noise()
    members = [member_of(plan_of(), sharpness=s) for s in (2.0, -0.5)]
    result = predict_case(members, volume)
    x = volume.array[0].astype(np.float64)
    parts = [probabilities(x, 2.0), probabilities(x, -0.5)]
    mean = sum(parts) / 2
    assert np.array_equal(result.mask, mean.argmax(0))
    expected = entropy(mean) - (entropy(parts[0]) + entropy(parts[1])) / 2
    np.testing.assert_allclose(result.maps["mutual_information"], expected, atol=1e-5)
    assert expected.max() > 0.1


def test_views_and_members_add_up_to_the_information_of_all_answers():
    """One window a case, so that the views of all members can be computed by hand."""
    plan = plan_of(patch=(8, 12, 10), flips=(2,))
    members = [member_of(plan, Positional, sharpness=s) for s in (2.0, -0.5)]
    volume = noise((8, 12, 10))
    result = predict_case(members, volume, PredictOptions(flips=True))
    image = torch.from_numpy(volume.array)[None]
    answers = []
    for member in members:
        answers.append(member.method.probabilities(image)[0])
        answers.append(member.method.probabilities(image.flip(-1)).flip(-1)[0])
    p = torch.stack(answers).double().numpy()
    expected = entropy(p.mean(0)) - np.mean([entropy(one) for one in p], axis=0)
    np.testing.assert_allclose(result.maps["mutual_information"], expected, atol=1e-5)


def test_members_with_other_spacing_meet_on_the_scans_grid():
    volume = Volume(np.ones((1, 20, 20, 20), np.float32), Geometry())
    members = [member_of(plan_of(spacing=(s, s, s)), sharpness=2.0) for s in (1.0, 1.7)]
    result = predict_case(members, volume)
    assert (result.mask == 1).all()
    np.testing.assert_allclose(result.maps["confidence"], probabilities(np.ones(1), 2.0).max(), atol=1e-5)
    np.testing.assert_allclose(result.maps["mutual_information"], 0, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (plan_of(classes=2), "equal classes"),
        (plan_of(values=(0, 1, 5)), "equal mask values"),
        (plan_of(channels=2), "same image channels"),
        (plan_of(2, slice_axis=2), "same axis"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(other, message):
    with pytest.raises(PaucisError, match=message):
        predict_case([member_of(plan_of()), member_of(other)], noise())


def test_further_maps_and_named_answers_of_a_method_come_through():
    volume = noise()
    result = predict_case(
        [member_of(plan_of(), extra=True)], volume, PredictOptions(maps=("own", "members", "probabilities"))
    )
    assert set(result.maps) == {"aleatoric", "probabilities"}
    np.testing.assert_allclose(result.maps["aleatoric"], volume.array[0] ** 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.maps["probabilities"], probabilities(volume.array[0]), atol=1e-3)
    assert np.array_equal(result.members["auxiliary"], probabilities(volume.array[0])[::-1].argmax(0))


def test_scans_with_other_channels_are_refused():
    with pytest.raises(PaucisError, match=r"has 2 channel.* trained on 1"):
        predict_case([member_of(plan_of())], noise(channels=2))
