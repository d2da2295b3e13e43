from __future__ import annotations

import numpy as np
import pytest
import torch
from known_methods import Pointwise, member_of, plan_of
from torch import Tensor

from paucis.data.case import Geometry, Volume
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import predict_case
from paucis.inference.sampling import SampledVolumes, sample_codes


class Swaying(Pointwise):
    """Sample k moves the brightness of all voxels by the sum of its code."""

    name = "swaying"

    def __init__(self, task, **options) -> None:
        super().__init__(task, **options)
        self.codes: list[Tensor] = []

    @property
    def code_length(self) -> int:
        return 2

    def sample(self, images: Tensor, codes: Tensor) -> Tensor:
        self.codes.append(codes)
        return torch.stack([self.probabilities(images + float(code.sum())) for code in codes])


def noise(shape=(20, 18, 22), **geometry):
    array = np.random.default_rng(3).normal(size=(1, *shape)).astype(np.float32)
    return Volume(array, Geometry(**geometry))


def expected(volume, number):
    """Probabilities (S, K, Z, Y, X) of each sample."""
    x = torch.from_numpy(volume.array[0]).double()
    moved = [x + float(code.sum()) for code in sample_codes(number, 2)]
    return torch.stack([torch.stack([0 * m, m, -m]).softmax(0) for m in moved])


def test_codes_are_pairs_that_never_change() -> None:
    codes = sample_codes(5, 3)
    assert codes.shape == (5, 3)
    assert torch.equal(codes[:2], -codes[3:])
    assert torch.equal(codes, sample_codes(6, 3)[:5])
    assert len(torch.unique(codes)) == 15


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_sample_is_one_answer_for_the_whole_scan_however_it_is_cut_into_windows(ndim, overlap) -> None:
    member, volume = member_of(plan_of(ndim), Swaying), noise()
    result = predict_case([member], volume, PredictOptions(samples=4, overlap=overlap, batch=3))
    assert np.array_equal(result.samples, expected(volume, 4).argmax(1).numpy())
    assert len(member.method.codes) > 1
    assert all(torch.equal(codes, sample_codes(4, 2)) for codes in member.method.codes)


def test_mirrored_views_are_of_the_same_sample() -> None:
    volume = noise()
    result = predict_case([member_of(plan_of(), Swaying)], volume, PredictOptions(samples=3, flips=True))
    assert np.array_equal(result.samples, expected(volume, 3).argmax(1).numpy())


def test_maps_of_uncertainty_are_those_of_the_samples() -> None:
    volume = noise()
    maps = predict_case([member_of(plan_of(), Swaying)], volume, PredictOptions(samples=4)).maps
    p = expected(volume, 4)

    def entropy(q: Tensor, dim: int) -> Tensor:
        return -(q * q.log()).sum(dim) / np.log(3)

    whole, each = entropy(p.mean(0), 0), entropy(p, 1).mean(0)
    np.testing.assert_allclose(maps["entropy"], whole, atol=1e-5)
    np.testing.assert_allclose(maps["expected_entropy"], each, atol=1e-5)
    np.testing.assert_allclose(maps["mutual_information"], whole - each, atol=1e-5)
    assert float(maps["mutual_information"].max()) > 0.01


def test_the_spread_of_a_structure_is_that_of_its_volumes_in_ml() -> None:
    volume = noise(spacing=(2.0, 1.0, 0.5))
    result = predict_case([member_of(plan_of(spacing=(2.0, 1.0, 0.5)), Swaying)], volume, PredictOptions(samples=4))
    for label in (1, 2):
        volumes = [(mask == label).sum() / 1000 for mask in result.samples]
        spread = result.spread[label]
        assert spread.mean == pytest.approx(np.mean(volumes))
        assert spread.deviation == pytest.approx(np.std(volumes, ddof=1))
        assert (spread.smallest, spread.largest) == (pytest.approx(min(volumes)), pytest.approx(max(volumes)))
        assert spread.smallest < spread.largest


def test_without_lengths_volumes_are_voxels_and_one_sample_has_no_deviation() -> None:
    volumes = SampledVolumes(1, 3, Geometry(physical=False))
    volumes.add(torch.tensor([[[[0, 1, 1, 2]]]]))
    volumes.add(torch.tensor([[[[0, 1, 0, 0]]]]))
    table = volumes.table()
    assert [row.mean for row in table] == [4.0, 3.0, 1.0]
    assert np.isnan(table[1].deviation)


def test_without_asking_nothing_is_drawn() -> None:
    member = member_of(plan_of(), Swaying)
    result = predict_case([member], noise())
    assert member.method.codes == []
    assert result.samples is None
    assert result.spread == []
    assert set(result.maps) == {"entropy", "confidence"}


def test_samples_of_several_runs_and_of_methods_without_are_refused() -> None:
    options, volume = PredictOptions(samples=2), noise()
    with pytest.raises(PaucisError, match="takes one run"):
        predict_case([member_of(plan_of(), Swaying)] * 2, volume, options)
    plain = member_of(plan_of())
    type(plain.method).name = "pointwise"
    with pytest.raises(PaucisError, match="method 'pointwise' draws no samples"):
        predict_case([plain], volume, options)
