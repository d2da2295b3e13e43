from __future__ import annotations

import pytest
import torch

from paucis.losses.sharpen import sharpen


def probabilities(classes: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, classes, 5, 3, generator=generator).softmax(1)


def test_it_is_the_power_over_the_sum_of_powers() -> None:
    p = probabilities()
    expected = p**2.5 / (p**2.5).sum(1, keepdim=True)
    assert torch.allclose(sharpen(p, 0.4), expected, atol=1e-6)


def test_per_class_it_is_the_power_over_that_of_the_class_and_its_complement() -> None:
    p = probabilities()
    expected = p**2.5 / (p**2.5 + (1 - p) ** 2.5)
    assert torch.allclose(sharpen(p, 0.4, per_class=True), expected, atol=1e-6)
    assert not torch.allclose(expected.sum(1), torch.ones(2, 5, 3), atol=1e-2)


def test_for_two_classes_both_forms_are_the_same() -> None:
    p = probabilities(2)
    assert torch.allclose(sharpen(p, 0.1), sharpen(p, 0.1, per_class=True), atol=1e-6)


def test_by_hand() -> None:
    p = torch.tensor([0.2, 0.8]).reshape(1, 2, 1)
    assert float(sharpen(p, 0.5)[0, 1, 0]) == pytest.approx(0.64 / 0.68)


def test_temperature_one_changes_nothing_and_a_low_one_chooses() -> None:
    p = probabilities()
    assert torch.allclose(sharpen(p, 1.0), p, atol=1e-6)
    assert torch.equal(sharpen(p, 1e-3).argmax(1), p.argmax(1))
    assert float(sharpen(p, 1e-3).amax(1).median()) > 0.999


@pytest.mark.parametrize("per_class", [False, True])
def test_certain_and_tiny_probabilities_stay_finite_with_their_gradient(per_class: bool) -> None:
    p = torch.tensor([[1.0, 0.0, 0.0], [1e-30, 1.0, 1e-30], [0.999, 0.0005, 0.0005]]).reshape(3, 3, 1)
    p.requires_grad_(True)
    result = sharpen(p, 0.1, per_class=per_class)
    result.square().sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(p.grad).all()


def test_half_precision_is_computed_in_full() -> None:
    p = probabilities().bfloat16()
    result = sharpen(p, 0.1)
    assert result.dtype == torch.float32
    assert torch.allclose(result, sharpen(p.float(), 0.1))
    with torch.autocast("cpu", torch.bfloat16):
        assert sharpen(probabilities(), 0.1).dtype == torch.float32
