from __future__ import annotations

import math

import pytest
import torch

from paucis.losses.entropy import entropy_loss


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 4, 3, 2, 5)])
def test_the_entropy_loss_is_the_naive_loop_over_valid_voxels(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, valid = torch.randn(shape) * 3, torch.rand(shape[0], *shape[2:]) > 0.4
    total, count = 0.0, 0
    for where in valid.nonzero().tolist():
        p = logits[(where[0], slice(None), *where[1:])].softmax(0).tolist()
        total -= sum(value * math.log(value) for value in p)
        count += 1
    assert float(entropy_loss(logits, valid, normalized=False)) == pytest.approx(total / count, rel=1e-5)
    assert float(entropy_loss(logits, valid)) == pytest.approx(total / count / math.log(shape[1]), rel=1e-5)


def test_undecided_is_one_and_certain_is_zero_even_where_probabilities_vanish() -> None:
    assert float(entropy_loss(torch.zeros(1, 5, 3, 3))) == pytest.approx(1.0)
    logits = torch.zeros(1, 3, 2, 2).index_fill_(1, torch.tensor([0]), 500.0).requires_grad_()
    loss = entropy_loss(logits)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(logits.grad).all()


def test_no_valid_voxel_and_half_precision() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = entropy_loss(logits, torch.zeros(1, 4, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(logits.grad.abs().max()) == 0.0
    with torch.autocast("cpu", torch.bfloat16):
        assert entropy_loss(logits.detach().bfloat16()).dtype == torch.float32
