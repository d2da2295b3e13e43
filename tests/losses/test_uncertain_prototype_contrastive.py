from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.losses import class_prototypes, prototype_similarity, uncertain_prototype_contrastive


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(
    features: Tensor, labels: Tensor, prototypes: Tensor, valid: Tensor, temperature: float, others: bool = False
) -> float:
    classes = [k for k in range(len(prototypes)) if valid[k]]
    means = []
    for k in classes:
        terms = []
        for vector, label in zip(features, labels.tolist(), strict=True):
            if label != k:
                continue
            similar = {j: float(torch.cosine_similarity(vector, prototypes[j], dim=0)) / temperature for j in classes}
            below = [math.exp(s) for j, s in similar.items() if not (others and j == k)]
            terms.append(math.log(sum(below)) - similar[k])
        if terms:
            means.append(sum(terms) / len(terms))
    return sum(means) / len(means) if len(classes) > 1 and means else 0.0


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_loop_over_voxels_and_classes(seed: int, others: bool) -> None:
    features, prototypes = vectors(23, 6, seed=seed), vectors(5, 6, seed=seed + 10)
    labels = torch.randint(0, 5, (23,), generator=torch.Generator().manual_seed(seed))
    valid = torch.tensor([True, True, False, True, True])
    prototypes[2] = torch.nan
    loss = uncertain_prototype_contrastive(features, labels, prototypes, valid, 0.3, others_only=others)
    assert float(loss) == pytest.approx(naive(features, labels, prototypes, valid, 0.3, others), rel=1e-5)


def test_by_hand_for_two_orthogonal_prototypes() -> None:
    # cosines 1 and 0 at temperature 0.5: log(1 + exp(-2)) for the first class, log(1 + exp(2)) for the misplaced one
    prototypes = torch.tensor([[4.0, 0.0], [0.0, 0.5]])
    features, valid = torch.tensor([[2.0, 0.0], [3.0, 0.0]]), torch.tensor([True, True])
    loss = uncertain_prototype_contrastive(features, torch.tensor([0, 1]), prototypes, valid, 0.5)
    assert float(loss) == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2, rel=1e-6)
    alone = uncertain_prototype_contrastive(
        features, torch.tensor([0, 1]), prototypes, valid, temperature=0.5, others_only=True
    )
    assert float(alone) == pytest.approx((-2 + 2) / 2, abs=1e-6)


def test_every_class_weighs_the_same_however_many_voxels_it_has() -> None:
    prototypes, valid = torch.eye(2), torch.tensor([True, True])
    labels = torch.tensor([0] * 9 + [1])
    features = torch.tensor([[1.0, 0.0]] * 10)
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    loss = uncertain_prototype_contrastive(features, labels, prototypes, valid, 1.0)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_lengths_and_order_do_not_matter() -> None:
    features, prototypes, valid = vectors(8, 4), vectors(3, 4, seed=1), torch.tensor([True] * 3)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1])
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    loss = uncertain_prototype_contrastive(features, labels, prototypes, valid)
    other = uncertain_prototype_contrastive(7 * features[order], labels[order], 0.1 * prototypes, valid)
    torch.testing.assert_close(loss, other)


@pytest.mark.parametrize("hole", [torch.nan, torch.inf, 0.0, 1e30])
def test_what_a_row_that_is_not_valid_holds_changes_neither_value_nor_gradient(hole: float) -> None:
    labels, valid = torch.tensor([0, 1, 2, 2, IGNORE, -1]), torch.tensor([True, True, False])
    results = []
    for filling in (1.0, hole):
        features, prototypes = vectors(6, 4).requires_grad_(True), vectors(3, 4, seed=1)
        prototypes[2] = filling
        prototypes.requires_grad_(True)
        loss = uncertain_prototype_contrastive(features, labels, prototypes, valid)
        loss.backward()
        assert torch.equal(prototypes.grad[2], torch.zeros(4))
        assert torch.equal(features.grad[2:], torch.zeros(4, 4))
        assert float(features.grad[:2].abs().sum()) > 0
        results.append((loss.detach(), features.grad, prototypes.grad))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("count", "valid"),
    [(5, [False] * 3), (5, [True, False, False]), (0, [True] * 3), (5, [False, True, True])],
    ids=["no prototype", "one prototype", "no voxel", "no voxel of a valid class"],
)
def test_where_nothing_can_be_compared_it_is_a_zero_with_a_gradient(count: int, valid: list[bool]) -> None:
    features, prototypes = vectors(count, 4).requires_grad_(True), torch.full((3, 4), torch.nan)
    prototypes[torch.tensor(valid)] = 1.0
    labels = torch.zeros(count, dtype=torch.long)
    loss = uncertain_prototype_contrastive(features, labels, prototypes, torch.tensor(valid))
    assert loss.shape == ()
    assert float(loss.detach()) == 0.0
    assert loss.requires_grad
    loss.backward()
    assert torch.equal(features.grad, torch.zeros(count, 4))


def test_half_precision_is_computed_in_full() -> None:
    features, prototypes, valid = vectors(6, 8).bfloat16(), vectors(2, 8, seed=1).bfloat16(), torch.tensor([True, True])
    labels = torch.tensor([0, 1] * 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = uncertain_prototype_contrastive(features, labels, prototypes, valid)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, uncertain_prototype_contrastive(features.float(), labels, prototypes.float(), valid))


def test_a_prototype_is_the_mean_of_the_certain_voxels_of_its_class() -> None:
    features = vectors(2, 3, 4, 5)
    labels = torch.randint(0, 4, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    certain = torch.rand((2, 4, 5), generator=torch.Generator().manual_seed(1)) > 0.4
    labels[labels == 3] = 1
    prototypes, valid = class_prototypes(features, labels, certain, 4)
    assert valid.tolist() == [True, True, True, False]
    rows = features.movedim(1, -1)
    for k in range(3):
        torch.testing.assert_close(prototypes[k], rows[(labels == k) & certain].mean(0))
    assert torch.equal(prototypes[3], torch.zeros(3))


def test_a_class_of_too_few_certain_voxels_has_no_prototype() -> None:
    labels = torch.tensor([[0, 0, 0, 1, 1]])
    _, valid = class_prototypes(vectors(1, 2, 5), labels, torch.ones(1, 5, dtype=torch.bool), 2, minimum=3)
    assert valid.tolist() == [True, False]


def test_the_likeness_of_prototypes_is_the_mean_cosine_of_their_pairs() -> None:
    prototypes, valid = vectors(4, 5), torch.tensor([True, True, False, True])
    prototypes[2] = torch.nan
    pairs = [(0, 1), (0, 3), (1, 3)]
    expected = sum(float(torch.cosine_similarity(prototypes[a], prototypes[b], dim=0)) for a, b in pairs) / 3
    assert float(prototype_similarity(prototypes, valid)) == pytest.approx(expected, rel=1e-5)
    alone = prototypes.clone().requires_grad_(True)
    loss = prototype_similarity(alone, torch.tensor([True, False, False, False]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(alone.grad, torch.zeros(4, 5))


def test_gradients_move_voxels_to_their_prototype_and_prototypes_apart() -> None:
    features, prototypes = vectors(1, 4).requires_grad_(True), vectors(2, 4, seed=1).requires_grad_(True)
    valid = torch.tensor([True, True])
    uncertain_prototype_contrastive(features, torch.tensor([0]), prototypes.detach(), valid).backward()
    prototype_similarity(prototypes, valid).backward()
    moved, apart = features.detach() - 0.01 * features.grad, prototypes.detach() - 0.1 * prototypes.grad

    def closeness(rows: Tensor) -> float:
        near, far = (float(torch.cosine_similarity(rows[0], prototypes[k].detach(), dim=0)) for k in (0, 1))
        return near - far

    assert closeness(moved) > closeness(features.detach())
    assert prototype_similarity(apart, valid) < prototype_similarity(prototypes.detach(), valid)
