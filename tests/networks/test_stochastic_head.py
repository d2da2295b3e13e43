from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from paucis.networks.stochastic_head import LowRankNormal, StochasticHead


def normal(images: int = 2, rank: int = 2, classes: int = 2, size=(2, 2)) -> LowRankNormal:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    diagonal = draw(images, classes, *size).square() + 0.05
    return LowRankNormal(draw(images, classes, *size), draw(images, rank, classes, *size), diagonal)


def covariance(distribution: LowRankNormal, image: int) -> Tensor:
    factor = distribution.factor[image].flatten(1)
    return factor.T @ factor + torch.diag(distribution.diagonal[image].flatten())


def test_samples_have_the_mean_and_the_covariance_of_factor_and_diagonal() -> None:
    distribution = normal()
    torch.manual_seed(1)
    drawn = distribution.sample(200_000).flatten(2)
    for image in range(2):
        found = torch.cov(drawn[:, image].T)
        expected = covariance(distribution, image)
        assert torch.allclose(found, expected, atol=0.02 * float(expected.max()))
    assert torch.allclose(drawn.mean(0), distribution.mean.flatten(1), atol=1e-4)


def test_the_covariance_is_that_of_the_library_class() -> None:
    distribution = normal()
    for image in range(2):
        theirs = LowRankMultivariateNormal(
            distribution.mean[image].flatten(),
            distribution.factor[image].flatten(1).T,
            distribution.diagonal[image].flatten(),
        )
        assert torch.allclose(theirs.covariance_matrix, covariance(distribution, image), atol=1e-5)


def test_images_are_drawn_apart() -> None:
    distribution = normal()
    torch.manual_seed(1)
    drawn = distribution.sample(100_000).flatten(2)
    mixed = torch.cov(torch.cat([drawn[:, 0], drawn[:, 1]], 1).T)[:8, 8:]
    assert float(mixed.abs().max()) < 0.03 * float(covariance(distribution, 0).max())


@pytest.mark.parametrize("number", [1, 2, 5, 6])
def test_samples_come_in_pairs_about_the_mean(number: int) -> None:
    distribution = normal()
    drawn = distribution.sample(number)
    assert drawn.shape == (number, 2, 2, 2, 2)
    half = (number + 1) // 2
    for index in range(number - half):
        assert torch.allclose(drawn[index] + drawn[half + index], 2 * distribution.mean, atol=1e-5)


def test_a_generator_makes_samples_repeatable() -> None:
    distribution = normal()
    first = distribution.sample(4, torch.Generator().manual_seed(3))
    assert torch.equal(first, distribution.sample(4, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, distribution.sample(4, torch.Generator().manual_seed(4)))


def test_coherent_samples_are_the_mean_moved_along_the_factor() -> None:
    distribution = normal()
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, -2.0]])
    found = distribution.coherent(codes)
    assert torch.equal(found[0], distribution.mean)
    assert torch.allclose(found[1], distribution.mean + distribution.factor[:, 0])
    expected = distribution.mean + 0.5 * distribution.factor[:, 0] - 2 * distribution.factor[:, 1]
    assert torch.allclose(found[2], expected, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_head_maps_coarse_features_to_the_size_of_the_mean(ndim: int) -> None:
    head = StochasticHead(ndim, 5, 3, rank=4)
    features, mean = torch.randn(2, 5, *[4] * ndim), torch.randn(2, 3, *[8] * ndim)
    found = head(features, mean)
    assert found.factor.shape == (2, 4, 3, *[8] * ndim)
    assert found.diagonal.shape == mean.shape
    assert bool((found.diagonal > 0).all())


def test_gradient_reaches_mean_factor_and_diagonal_and_huge_features_stay_finite() -> None:
    head = StochasticHead(2, 5, 3, rank=4)
    features = (1e4 * torch.randn(2, 5, 8, 8)).requires_grad_()
    mean = torch.randn(2, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features, mean)
    drawn = found.sample(4)
    assert drawn.dtype == torch.float32
    drawn[0].square().mean().backward()
    for tensor in (features, mean, head.factor.weight, head.log_diagonal.weight):
        assert torch.isfinite(tensor.grad).all()
    small = head(0.1 * torch.randn(2, 5, 8, 8), mean.detach())
    gradients = torch.autograd.grad(small.sample(4)[0].square().mean(), list(head.parameters()))
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


@pytest.mark.parametrize("ndim", [2, 3])
def test_samples_begin_near_the_mean(ndim) -> None:
    """Drawn as PyTorch draws them, they would lie about 1.5 logits from it."""
    head = StochasticHead(ndim, 16, 3, 8)
    features, mean = torch.randn(2, 16, *(12,) * ndim), torch.randn(2, 3, *(12,) * ndim)
    with torch.no_grad():
        logits = head(features, mean)
        deviation = (logits.sample(64) - mean).std()
    assert 0.05 < float(deviation) < 0.5
