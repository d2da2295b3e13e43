from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from paucis.losses import patch_affinity, patch_dragsaw


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares(items: int, count: int, classes: int, seed: int = 0) -> Tensor:
    return draw(items, count, classes, seed=seed).softmax(2)


def naive_affinity(ratios: Tensor) -> Tensor:
    """Eq. 3, entry by entry."""
    items, count, classes = ratios.shape
    result = torch.zeros(items, count, count, dtype=torch.float64)
    for b in range(items):
        for i in range(count):
            for j in range(count):
                total = sum(abs(float(ratios[b, i, m]) - float(ratios[b, j, m])) for m in range(classes))
                result[b, i, j] = 1 - total / classes
    return result


def naive_dragsaw(features: Tensor, affinity: Tensor, temperature: float, valid: Tensor | None = None) -> float:
    """Eq. 6 and 7, pair by pair, in double precision, with the plain exponentials."""
    terms = []
    for b in range(len(features)):
        used = [i for i in range(features.shape[1]) if valid is None or valid[b, i]]
        for i in used:

            def cosine(k: int, b: int = b, i: int = i) -> float:
                one, two = features[b, i].double(), features[b, k].double()
                return float(one @ two / (one.norm() * two.norm()))

            below = sum(math.exp(cosine(k) * (1 - float(affinity[b, i, k])) / temperature) for k in used)
            for j in used:
                terms.append(-math.log(math.exp(cosine(j) * float(affinity[b, i, j]) / temperature) / below))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("items", "count", "classes"), [(2, 5, 2), (1, 7, 4), (3, 1, 3)])
def test_affinity_is_equation_3(items: int, count: int, classes: int) -> None:
    ratios = shares(items, count, classes)
    affinity = patch_affinity(ratios)
    assert torch.allclose(affinity.double(), naive_affinity(ratios), atol=1e-6)
    assert torch.equal(affinity, affinity.transpose(1, 2))
    assert torch.equal(affinity.diagonal(dim1=1, dim2=2), torch.ones(items, count))


def test_patches_of_two_pure_classes_have_affinity_one_minus_two_over_their_number() -> None:
    pure = torch.eye(4)[None]
    off = patch_affinity(pure)[0, 0, 1]
    assert float(off) == pytest.approx(1 - 2 / 4)
    assert float(patch_affinity(torch.eye(2)[None])[0, 0, 1]) == 0


@pytest.mark.parametrize(("items", "count", "depth", "temperature"), [(2, 6, 3, 1.0), (1, 4, 8, 0.5), (3, 1, 2, 0.1)])
def test_dragsaw_is_equations_6_and_7(items: int, count: int, depth: int, temperature: float) -> None:
    features, affinity = draw(items, count, depth), patch_affinity(shares(items, count, 3, seed=1))
    loss = patch_dragsaw(features, affinity, temperature)
    assert float(loss) == pytest.approx(naive_dragsaw(features, affinity, temperature), abs=1e-5)


def test_vectors_that_do_not_count_are_as_if_they_were_not_there() -> None:
    features, affinity = draw(2, 6, 3), patch_affinity(shares(2, 6, 3, seed=1))
    valid = torch.tensor([[True, False, True, True, False, True], [True] * 6])
    loss = patch_dragsaw(features, affinity, 0.7, valid)
    assert float(loss) == pytest.approx(naive_dragsaw(features, affinity, 0.7, valid), abs=1e-5)
    features[0, 1] = 1e6
    assert float(patch_dragsaw(features, affinity, 0.7, valid)) == pytest.approx(float(loss), abs=1e-6)


def test_closed_values() -> None:
    same, ones = torch.ones(1, 5, 3), torch.ones(1, 5, 5)
    assert float(patch_dragsaw(same, ones)) == pytest.approx(math.log(5) - 1)
    assert float(patch_dragsaw(same, torch.zeros(1, 5, 5))) == pytest.approx(math.log(5) + 1)


def test_the_loss_does_not_depend_on_how_many_alike_items_there_are_nor_on_the_order_or_length_of_vectors() -> None:
    features, affinity = draw(1, 6, 3), patch_affinity(shares(1, 6, 2, seed=1))
    loss = patch_dragsaw(features, affinity)
    assert torch.allclose(patch_dragsaw(features.repeat(4, 1, 1), affinity.repeat(4, 1, 1)), loss, atol=1e-6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.allclose(patch_dragsaw(features[:, order], affinity[:, order][:, :, order]), loss, atol=1e-6)
    assert torch.allclose(patch_dragsaw(features * 7, affinity), loss, atol=1e-6)


def test_gradients_reach_features_and_not_affinities_and_are_right() -> None:
    features = draw(2, 4, 3).double().requires_grad_()
    affinity = patch_affinity(shares(2, 4, 2, seed=1)).double().requires_grad_()
    valid = torch.tensor([[True, True, False, True], [False] * 4])
    assert torch.autograd.gradcheck(lambda f: patch_dragsaw(f, affinity, 0.5, valid), features)
    patch_dragsaw(features, affinity).backward()
    assert affinity.grad is None
    assert features.grad is not None


def test_nothing_that_counts_and_vectors_without_direction_give_zero_with_a_gradient() -> None:
    features = draw(1, 4, 3).requires_grad_()
    loss = patch_dragsaw(features, torch.ones(1, 4, 4), valid=torch.zeros(1, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(features.grad, torch.zeros_like(features))  # type: ignore[arg-type]
    dead = torch.zeros(1, 4, 3, requires_grad=True)
    patch_dragsaw(dead, torch.ones(1, 4, 4)).backward()
    assert torch.equal(dead.grad, torch.zeros_like(dead))  # type: ignore[arg-type]


def test_bf16_features_give_a_float32_loss_near_the_exact_one() -> None:
    features, affinity = draw(2, 8, 16), patch_affinity(shares(2, 8, 2, seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        loss = patch_dragsaw(features.bfloat16(), affinity)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(naive_dragsaw(features, affinity, 1.0), abs=0.02)


def optimized(loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Cosines of vectors moved by a loss alone."""
    features = draw(1, 12, 4, seed=3).requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(features).backward()
        optimizer.step()
    directions = torch.nn.functional.normalize(features.detach()[0], dim=1)
    return directions @ directions.T


def published_order(features: Tensor, affinity: Tensor) -> Tensor:
    """The published 2D code: both weights swapped, after the similarities were shifted by their maximum."""
    directions = torch.nn.functional.normalize(features, dim=2)
    shifted = directions @ directions.transpose(1, 2) - 1
    return ((shifted * affinity).logsumexp(2, keepdim=True) - shifted * (1 - affinity)).mean()


def test_the_papers_order_separates_two_classes_and_the_swapped_order_collapses() -> None:
    kinds = torch.arange(12) % 2
    affinity = patch_affinity(torch.nn.functional.one_hot(kinds, 2).float()[None])
    same = kinds[:, None] == kinds[None]
    separated = optimized(lambda features: patch_dragsaw(features, affinity))
    assert float(separated[same].min()) > 0.95
    assert float(separated[~same].max()) < -0.95
    assert float(optimized(lambda features: published_order(features, affinity)).min()) > 0.95
    swapped = optimized(lambda features: patch_dragsaw(features, 1 - affinity))
    others = same & ~torch.eye(12, dtype=torch.bool)
    assert float(swapped[others].mean()) < float(swapped[~same].mean())  # without the shift, worse than nothing
