from __future__ import annotations

import math

import pytest
import torch

from paucis.losses.divergence import jensen_shannon, kl_divergence


def entropy_of(p: list[float]) -> float:
    return -sum(value * math.log(value) for value in p if value > 0)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 4, 3, 2, 5)])
def test_divergences_are_the_naive_loops_over_valid_voxels(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    one, other = torch.randn(shape) * 2, torch.randn(shape) * 2
    valid = torch.rand(shape[0], *shape[2:]) > 0.4
    kl, js = [], []
    for where in valid.nonzero().tolist():
        p = one[(where[0], slice(None), *where[1:])].double().softmax(0).tolist()
        q = other[(where[0], slice(None), *where[1:])].double().softmax(0).tolist()
        kl.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        mean = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        js.append(entropy_of(mean) - (entropy_of(p) + entropy_of(q)) / 2)
    assert float(kl_divergence(one, other, valid)) == pytest.approx(sum(kl) / len(kl), rel=1e-5)
    assert float(jensen_shannon(one, other, valid)) == pytest.approx(sum(js) / len(js), rel=1e-4)


def test_jensen_shannon_is_symmetric_and_between_zero_and_ln_two() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    assert float(jensen_shannon(one, other)) == pytest.approx(float(jensen_shannon(other, one)), rel=1e-5)
    assert float(jensen_shannon(one, one)) == pytest.approx(0.0, abs=1e-6)
    certain = torch.zeros(1, 2, 3, 3)
    certain[:, 0] = 300.0
    assert float(jensen_shannon(certain, certain.flip(1))) == pytest.approx(math.log(2.0))
    assert float(kl_divergence(one, one)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("loss", [kl_divergence, jensen_shannon])
def test_divergences_stay_finite_in_the_extreme_and_where_nothing_counts(loss: object) -> None:
    assert callable(loss)
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0] = 400.0
    seen = logits.flip(1).clone().requires_grad_()
    value = loss(logits, seen)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(seen.grad).all()
    assert float(loss(logits, seen, torch.zeros(1, 2, 2, dtype=torch.bool))) == 0.0
    assert loss(logits.bfloat16(), seen.bfloat16()).dtype == torch.float32


def test_a_detached_target_moves_the_other_side_alone() -> None:
    target, logits = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randn(1, 3, 4, 4, requires_grad=True)
    kl_divergence(target.detach(), logits).backward()
    assert target.grad is None
    expected = (logits.softmax(1) - target.softmax(1)) / 16
    assert torch.allclose(logits.grad, expected, atol=1e-6)
