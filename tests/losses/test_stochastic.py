from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.losses import cross_entropy, stochastic_nll


def case(number: int = 5, batch: int = 2, classes: int = 3, size=(2, 3)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(number, batch, classes, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (batch, *size), generator=generator)
    labels[0, 0, 0] = IGNORE
    return logits, labels


def naive(samples: Tensor, labels: Tensor) -> float:
    total = 0.0
    for image in range(labels.shape[0]):
        likelihoods = []
        for sample in samples:
            log_p, voxels = 0.0, 0
            for place in range(labels[image].numel()):
                label = int(labels[image].flatten()[place])
                if label != IGNORE:
                    log_p += float(sample[image].flatten(1)[:, place].log_softmax(0)[label])
                    voxels += 1
            likelihoods.append(math.exp(log_p))
        total -= math.log(sum(likelihoods) / len(likelihoods)) / voxels
    return total / labels.shape[0]


def test_it_is_the_mean_over_samples_of_the_whole_images_likelihood() -> None:
    logits, labels = case()
    assert float(stochastic_nll(logits, labels)) == pytest.approx(naive(logits, labels), rel=1e-12)


def test_equal_samples_give_the_cross_entropy() -> None:
    logits, labels = case(number=1)
    labels[1, 0, 0] = IGNORE  # equally many voxels count in both images
    expected = cross_entropy(logits[0], labels)
    assert float(stochastic_nll(logits.expand(7, -1, -1, -1, -1), labels)) == pytest.approx(float(expected), rel=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    logits, labels = case(3, 1)
    assert torch.autograd.gradcheck(lambda values: stochastic_nll(values, labels), (logits.requires_grad_(),))


def test_the_best_sample_takes_the_gradient_of_a_large_image() -> None:
    labels = torch.zeros(1, 30, 30, dtype=torch.long)
    logits = torch.zeros(2, 1, 2, 30, 30)
    logits[1, :, 0] = 0.1  # hardly better at every voxel
    logits.requires_grad_()
    stochastic_nll(logits, labels).backward()
    sizes = logits.grad.abs().flatten(1).sum(1)
    assert float(sizes[1]) > 1e6 * float(sizes[0])


def test_the_order_of_samples_is_of_no_account_and_shifts_of_logits_neither() -> None:
    logits, labels = case()
    expected = float(stochastic_nll(logits, labels))
    assert float(stochastic_nll(logits.flip(0), labels)) == pytest.approx(expected)
    assert float(stochastic_nll(logits + 3, labels)) == pytest.approx(expected)


def test_images_without_known_voxels_add_0_and_keep_a_gradient() -> None:
    logits, labels = case()
    unknown = torch.full_like(labels, IGNORE)
    logits.requires_grad_()
    nothing = stochastic_nll(logits, unknown)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    half = torch.stack([labels[0], unknown[0]])
    alone = stochastic_nll(logits[:, :1], labels[:1])
    assert float(stochastic_nll(logits, half).detach()) == pytest.approx(float(alone.detach()) / 2)


def test_it_is_float32_within_autocast_and_finite_for_huge_logits() -> None:
    logits, labels = case(size=(40, 50))
    with torch.autocast("cpu", torch.bfloat16):
        found = stochastic_nll((1e4 * logits).bfloat16().requires_grad_(), labels)
    assert found.dtype == torch.float32
    assert torch.isfinite(found)
    single = stochastic_nll(torch.randn(4, 1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    assert torch.isfinite(single)
