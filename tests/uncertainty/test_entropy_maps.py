from __future__ import annotations

import math

import pytest
import torch

from paucis.uncertainty import confidence, entropy, expected_entropy, mutual_information, predictive_entropy


def test_entropy_in_closed_form() -> None:
    even = torch.full((2, 4, 3, 3), 0.25)
    assert torch.allclose(entropy(even), torch.full((2, 3, 3), math.log(4)))
    assert torch.allclose(entropy(even, normalized=True), torch.ones(2, 3, 3))
    sure = torch.zeros(1, 3, 2)
    sure[:, 1] = 1
    assert entropy(sure).abs().max() == 0
    uneven = torch.tensor([0.7, 0.2, 0.1]).reshape(1, 3, 1)
    expected = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))
    assert float(entropy(uneven)) == pytest.approx(expected, rel=1e-6)


def test_entropy_has_a_finite_gradient_where_a_class_is_certain() -> None:
    logits = torch.tensor([200.0, -200.0]).reshape(1, 2, 1).requires_grad_()
    entropy(logits.softmax(1)).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_entropy_goes_up_the_gradient_of_uncertainty() -> None:
    probabilities = torch.tensor([0.7, 0.3], dtype=torch.float64).reshape(1, 2, 1).requires_grad_()
    entropy(probabilities).sum().backward()
    slopes = [-(math.log(p) + 1) for p in (0.7, 0.3)]
    assert probabilities.grad.flatten().tolist() == pytest.approx(slopes)


def test_samples_that_agree_have_no_mutual_information() -> None:
    one = torch.rand(2, 3, 4, 4).softmax(1)
    samples = one.expand(5, -1, -1, -1, -1)
    assert mutual_information(samples).abs().max() < 1e-6
    assert torch.allclose(predictive_entropy(samples), expected_entropy(samples), atol=1e-6)


def test_samples_that_are_sure_of_different_classes_disagree_by_the_whole_entropy() -> None:
    samples = torch.zeros(2, 1, 2, 1)
    samples[0, :, 0] = samples[1, :, 1] = 1
    assert float(expected_entropy(samples)) == 0
    assert float(mutual_information(samples)) == pytest.approx(math.log(2))
    assert float(mutual_information(samples, normalized=True)) == pytest.approx(1.0)


def test_parts_add_up_and_order_of_samples_does_not_matter() -> None:
    samples = torch.randn(6, 2, 4, 3, 5, 2).softmax(2)
    total = expected_entropy(samples) + mutual_information(samples)
    assert torch.allclose(total, predictive_entropy(samples), atol=1e-6)
    assert torch.allclose(mutual_information(samples.flip(0)), mutual_information(samples), atol=1e-6)
    assert total.shape == (2, 3, 5, 2)


def test_confidence_is_the_largest_probability() -> None:
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]).unsqueeze(-1)
    assert confidence(probabilities).flatten().tolist() == pytest.approx([0.5, 0.9])


def test_half_precision_is_computed_in_float32() -> None:
    probabilities = torch.randn(1, 3, 4, 4).softmax(1).bfloat16()
    assert entropy(probabilities).dtype == torch.float32
    assert torch.equal(entropy(probabilities), entropy(probabilities.float()))
