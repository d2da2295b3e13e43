from __future__ import annotations

import pytest
import torch

from engine import TASKS, Seen, builder
from paucis.methods.parts.monte_carlo import noisy, noisy_passes


def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 1, 32, 24)


@pytest.mark.parametrize(("passes", "at_once", "batches"), [(8, 2, [4, 4, 4, 4]), (5, 3, [6, 4]), (1, 4, [2])])
def test_passes_run_in_batches_and_come_out_one_by_one(passes: int, at_once: int, batches: list[int]) -> None:
    network = builder(TASKS[2], normalization="none")()
    seen = Seen(network)
    samples = noisy_passes(network, images(), passes, 0.1, 0.2, at_once)
    assert [len(each) for each in seen.images] == batches
    assert samples.shape == (passes, 2, 4, 32, 24)
    assert not samples.requires_grad
    assert torch.allclose(samples.sum(2), torch.ones(()), atol=1e-5)


def test_without_noise_and_dropout_every_pass_is_the_plain_prediction_of_its_image() -> None:
    network = builder(TASKS[2], normalization="none", dropout=(0.0,))()
    samples = noisy_passes(network, images(), 3, 0.0, 0.2)
    plain = network(images()).logits.softmax(1)
    assert all(torch.allclose(sample, plain, atol=1e-6) for sample in samples)


def test_passes_differ_by_noise_and_by_dropout() -> None:
    network = builder(TASKS[2], normalization="none", dropout=(0.0,))()
    by_noise = noisy_passes(network, images(), 2, 0.1, 0.2)
    assert not torch.allclose(by_noise[0], by_noise[1])
    network = builder(TASKS[2], normalization="none", dropout=(0.5,))()
    by_dropout = noisy_passes(network, images(), 2, 0.0, 0.2)
    assert not torch.allclose(by_dropout[0], by_dropout[1])


def test_noise_is_cut_off_at_its_limit() -> None:
    changed = noisy(torch.zeros(1, 1, 50, 50), 0.1, 0.15)
    assert float(changed.abs().max()) == pytest.approx(0.15)
    assert torch.equal(noisy(images(), 0.0, 0.2), images())
