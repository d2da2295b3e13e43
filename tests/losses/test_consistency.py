from __future__ import annotations

import math

import pytest
import torch

from paucis.losses import masked_mean, squared_difference, symmetric_divergence


def test_squared_difference_is_the_naive_loop_over_valid_voxels() -> None:
    p, q = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    valid = torch.rand(2, 4, 5) < 0.6
    terms = [
        (float(p[b, k, i, j]) - float(q[b, k, i, j])) ** 2
        for b in range(2)
        for k in range(3)
        for i in range(4)
        for j in range(5)
        if valid[b, i, j]
    ]
    assert float(squared_difference(p, q, valid)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert torch.allclose(squared_difference(p, q), torch.nn.functional.mse_loss(p, q))


def test_symmetric_divergence_in_closed_form() -> None:
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.4, 0.6])
    expected = 0.5 * (
        0.9 * math.log(0.9 / 0.4) + 0.1 * math.log(0.1 / 0.6) + 0.4 * math.log(0.4 / 0.9) + 0.6 * math.log(0.6 / 0.1)
    )
    shape = (1, 2, 1, 1)
    forward = symmetric_divergence(p.log().reshape(shape), q.log().reshape(shape))
    assert float(forward) == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(symmetric_divergence(q.log().reshape(shape), p.log().reshape(shape)), forward)
    assert float(symmetric_divergence(p.reshape(shape), p.reshape(shape) + 3.0)) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("loss", [squared_difference, symmetric_divergence])
def test_both_sides_get_a_gradient_unless_detached(loss: object) -> None:
    left, right = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)
    loss(left, right.detach()).backward()  # type: ignore[operator]
    assert left.grad.abs().sum() > 0
    assert right.grad is None
    loss(left, right).backward()  # type: ignore[operator]
    assert right.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [squared_difference, symmetric_divergence])
def test_no_valid_voxel_costs_nothing_and_still_goes_backward(loss: object) -> None:
    left = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(left, torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool))  # type: ignore[operator]
    value.backward()
    assert float(value.detach()) == 0.0
    assert left.grad.abs().max() == 0


def test_voxels_outside_get_no_gradient() -> None:
    left = torch.randn(1, 3, 4, 4, requires_grad=True)
    valid = torch.zeros(1, 4, 4, dtype=torch.bool)
    valid[:, 1:3] = True
    squared_difference(left.softmax(1), torch.full((1, 3, 4, 4), 1 / 3), valid).backward()
    assert left.grad[:, :, [0, 3]].abs().max() == 0
    assert (left.grad[:, :, 1:3].abs().sum(1) > 0).all()


def test_masked_mean_weighs_voxels() -> None:
    values, weights = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 0.5, 0.0]])
    assert float(masked_mean(values, weights)) == pytest.approx(2.0 / 1.5)
    assert float(masked_mean(values)) == pytest.approx(7 / 3)


def test_half_precision_is_computed_in_float32() -> None:
    left, right = torch.randn(2, 3, 8, 8).bfloat16(), torch.randn(2, 3, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = symmetric_divergence(left, right)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, symmetric_divergence(left.float(), right.float()))
    far = symmetric_divergence(torch.tensor([300.0, -300.0]).reshape(1, 2, 1), torch.zeros(1, 2, 1))
    assert torch.isfinite(far)


def test_nothing_valid_stays_finite_under_a_loss_scale() -> None:
    values = torch.rand(1, 2, 3, 3, requires_grad=True)
    (65536.0 * masked_mean(values, torch.zeros(1, 3, 3, dtype=torch.bool))).backward()
    assert values.grad is not None
    assert bool((values.grad == 0).all())
