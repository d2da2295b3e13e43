from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.losses.region_discrimination import cluster_entropy, region_discrimination, region_prototypes


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spatial", [(5, 4), (3, 4, 2)])
def test_regions_and_prototypes_equal_the_loop_over_voxels(spatial: tuple[int, ...]) -> None:
    embeddings = F.normalize(draws(2, 6, *spatial), dim=1)
    assignments = draws(2, 3, *spatial, seed=1).softmax(1)
    regions, prototypes = region_prototypes(embeddings, assignments)
    flat, shares = embeddings.flatten(2), assignments.flatten(2)
    for c in range(3):
        found = []
        for n in range(2):
            total = sum(shares[n, c, k] * flat[n, :, k] for k in range(flat.shape[2]))
            found.append(total / total.norm())
            assert torch.allclose(regions[n, c], found[-1], atol=1e-6)
        assert torch.allclose(prototypes[c], sum(found) / sum(found).norm(), atol=1e-6)


def test_the_order_of_images_and_voxels_does_not_matter() -> None:
    embeddings, assignments = draws(3, 4, 6), draws(3, 2, 6, seed=1).softmax(1)
    _, prototypes = region_prototypes(embeddings, assignments)
    images, places = torch.tensor([2, 0, 1]), torch.randperm(6, generator=torch.Generator().manual_seed(0))
    moved = region_prototypes(embeddings[images][:, :, places], assignments[images][:, :, places])[1]
    assert torch.allclose(prototypes, moved, atol=1e-6)


def test_the_loss_equals_the_loop_over_images_and_regions() -> None:
    regions, prototypes = draws(3, 4, 5), draws(4, 5, seed=1)
    terms, crossed = [], []
    for n in range(3):
        for c in range(4):
            similar = [float(torch.cosine_similarity(regions[n, c], one, dim=0)) / 0.2 for one in prototypes]
            q = [math.exp(s) / sum(map(math.exp, similar)) for s in similar]
            crossed.append(-math.log(q[c]))
            terms.append(-math.log(q[c]) - sum(math.log(1 - q[k]) for k in range(4) if k != c))
    assert float(region_discrimination(regions, prototypes)) == pytest.approx(sum(terms) / 12, rel=1e-5)
    assert float(region_discrimination(regions, prototypes, joint=False)) == pytest.approx(sum(crossed) / 12, rel=1e-5)


@pytest.mark.parametrize("clusters", [2, 16])
def test_by_hand_for_regions_on_orthogonal_prototypes(clusters: int) -> None:
    prototypes, e = torch.eye(clusters), math.exp(5.0)
    q = 1 / (e + clusters - 1)
    first = -math.log(e * q)
    loss = region_discrimination(prototypes.expand(3, -1, -1), prototypes)
    assert float(loss) == pytest.approx(first - (clusters - 1) * math.log1p(-q), rel=1e-5)
    crossed = region_discrimination(prototypes.expand(3, -1, -1), prototypes, joint=False)
    assert float(crossed) == pytest.approx(first, rel=1e-5)


def test_gradients_are_those_of_finite_differences_through_both() -> None:
    embeddings, logits = draws(2, 4, 6).double(), draws(2, 3, 6, seed=1).double()

    def loss(v: Tensor, r: Tensor) -> Tensor:
        return region_discrimination(*region_prototypes(F.normalize(v, dim=1), r.softmax(1)))

    assert torch.autograd.gradcheck(loss, (embeddings.requires_grad_(True), logits.requires_grad_(True)))


def test_an_empty_cluster_and_opposite_regions_are_finite() -> None:
    embeddings = F.normalize(draws(2, 4, 6), dim=1).requires_grad_(True)
    assignments = draws(2, 3, 6, seed=1).softmax(1)
    assignments[:, 2] = 0.0
    assignments.requires_grad_(True)
    regions, prototypes = region_prototypes(embeddings, assignments)
    assert torch.equal(regions[:, 2], torch.zeros(2, 4))
    assert torch.equal(prototypes[2], torch.zeros(4))
    region_discrimination(regions, prototypes).backward()
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(assignments.grad).all()
    wrong = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    loss = region_discrimination(wrong, -wrong[0], 0.01)
    assert float(loss) == pytest.approx(400.0)


def test_half_precision_is_computed_in_full() -> None:
    embeddings, assignments = draws(2, 4, 6).bfloat16(), draws(2, 3, 6, seed=1).softmax(1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        regions, prototypes = region_prototypes(embeddings, assignments)
        loss = region_discrimination(regions, prototypes)
    expected = region_discrimination(*region_prototypes(embeddings.float(), assignments.float()))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


def test_entropy_is_in_bits_and_counts_valid_voxels_alone() -> None:
    half, sure = torch.full((1, 2, 3), 0.5), torch.tensor([[[0.0], [1.0]]]).expand(1, 2, 3)
    assert float(cluster_entropy(half)) == pytest.approx(1.0)
    assert float(cluster_entropy(sure)) == pytest.approx(0.0, abs=1e-4)
    quarter = torch.full((1, 1, 2), 0.25)
    assert float(cluster_entropy(quarter)) == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3), rel=1e-5)
    mixed = torch.cat([half[..., :1], sure[..., :1]], 2).requires_grad_(True)
    valid = torch.tensor([[True, False]])
    assert float(cluster_entropy(mixed, valid).detach()) == pytest.approx(1.0)
    cluster_entropy(mixed).backward()
    assert torch.isfinite(mixed.grad).all()
