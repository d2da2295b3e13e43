from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.methods.parts.region_clustering import clustered, region_sums


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spatial", [(5, 4), (3, 4, 2)])
def test_shares_equal_the_loop_over_voxels_and_regions(spatial: tuple[int, ...]) -> None:
    vectors = F.normalize(draws(2, 6, *spatial), dim=1)
    clusters = draws(2, 3, *spatial, seed=1).softmax(1)
    found = clustered(vectors, region_sums(vectors, clusters), 0.2).flatten(2)
    v, r = vectors.flatten(2), clusters.flatten(2)
    for n in range(2):
        sums = [sum(r[n, c, k] * v[n, :, k] for k in range(v.shape[2])) for c in range(3)]
        prototypes = [total / total.norm() for total in sums]
        for k in range(v.shape[2]):
            weights = [math.exp(float(t @ v[n, :, k]) / 0.2) for t in prototypes]
            expected = [weight / sum(weights) for weight in weights]
            assert found[n, :, k].tolist() == pytest.approx(expected, abs=1e-5)


def test_by_hand_for_two_regions_of_orthogonal_vectors() -> None:
    vectors = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    clusters = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    share = math.exp(5) / (math.exp(5) + 1)
    found = clustered(vectors, region_sums(vectors, clusters), 0.2)
    assert found[0, 0].tolist() == pytest.approx([share, share, 1 - share])
    doubtful = 0.55 * clusters + 0.45 * clusters.flip(1)
    assert bool((clustered(vectors, region_sums(vectors, doubtful), 0.2)[0, 0] > 0.5).tolist() == [True, True, False])


def test_the_sums_of_parts_are_those_of_the_whole_and_voxels_without_a_share_are_left_out() -> None:
    vectors, clusters = draws(1, 4, 6, 3), draws(1, 2, 6, 3, seed=1).softmax(1)
    whole = region_sums(vectors, clusters)
    parts = [region_sums(vectors[:, :, some], clusters[:, :, some]) for some in (slice(0, 2), slice(2, 6))]
    assert torch.allclose(whole, parts[0] + parts[1], atol=1e-5)
    masked = clusters.clone()
    masked[:, :, 2:] = 0
    assert torch.allclose(region_sums(vectors, masked), parts[0], atol=1e-5)


def test_an_empty_region_takes_nothing_and_nothing_at_all_is_no_nan() -> None:
    vectors = F.normalize(draws(1, 4, 8), dim=1)
    clusters = torch.cat([torch.full((1, 1, 8), 1e-6), draws(1, 2, 8).softmax(1)], 1)
    found = clustered(vectors, region_sums(vectors, clusters))
    assert bool((found[:, 0] == 0).all())
    assert torch.allclose(found.sum(1), torch.ones(1, 8))
    assert bool((clustered(vectors, region_sums(vectors, 0 * clusters)) == 0).all())
