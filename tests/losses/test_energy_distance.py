from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paucis.losses import energy_distance
from paucis.losses.energy_distance import generalized_energy_distance


def samples(number: int, batch: int = 2, classes: int = 3, size=(5, 4, 3), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, batch, classes, *size, generator=generator, dtype=torch.float64).softmax(2)


def naive(student: Tensor, teacher: Tensor, smooth: float = 1e-5) -> Tensor:
    def apart(a: Tensor, b: Tensor) -> float:
        scores = []
        for one, other in zip(a, b, strict=True):  # class by class
            overlap, size = (one * other).sum(), (one**2).sum() + (other**2).sum()
            scores.append(float((2 * overlap + smooth) / (size + smooth)))
        return 1 - sum(scores) / len(scores)

    def expected(first: Tensor, second: Tensor, image: int) -> float:
        pairs = [apart(a[image], b[image]) for a in first for b in second]
        return sum(pairs) / len(pairs)

    return torch.tensor(
        [
            2 * expected(student, teacher, image)
            - expected(student, student, image)
            - expected(teacher, teacher, image)
            for image in range(student.shape[1])
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("block", [8192, 16, 60, 7])
@pytest.mark.parametrize("counts", [(4, 4), (2, 5), (1, 1)])
def test_it_is_the_loop_over_pairs_whatever_the_block(counts, block, monkeypatch) -> None:
    monkeypatch.setattr(energy_distance, "_BLOCK", block)
    student, teacher = samples(counts[0], seed=1), samples(counts[1], seed=2)
    assert torch.allclose(generalized_energy_distance(student, teacher), naive(student, teacher), atol=1e-12)


@pytest.mark.parametrize("block", [8192, 7])
def test_its_gradient_is_that_of_finite_differences_for_both_sides(block, monkeypatch) -> None:
    monkeypatch.setattr(energy_distance, "_BLOCK", block)
    student, teacher = samples(2, 2, 2, (3, 3)).requires_grad_(), samples(3, 2, 2, (3, 3), 1).requires_grad_()
    assert torch.autograd.gradcheck(generalized_energy_distance, (student, teacher))


def test_equal_sets_and_equal_masks_are_at_distance_0_and_disjoint_masks_at_2() -> None:
    several = samples(4)
    assert torch.allclose(generalized_energy_distance(several, several.flip(0)), torch.zeros(2).double(), atol=1e-12)
    mask = torch.zeros(1, 1, 2, 4, 4)
    mask[:, :, 0, :2], mask[:, :, 1, 2:] = 1, 1
    assert float(generalized_energy_distance(mask, mask)) == 0
    assert float(generalized_energy_distance(mask, mask.flip(2))) == pytest.approx(2, abs=1e-5)


def test_the_order_of_samples_is_of_no_account() -> None:
    student, teacher = samples(4, seed=1), samples(4, seed=2)
    mixed = generalized_energy_distance(student[[2, 0, 3, 1]], teacher[[1, 0, 3, 2]])
    assert torch.allclose(mixed, generalized_energy_distance(student, teacher))


def test_gradient_reaches_the_student_and_no_detached_teacher() -> None:
    student, teacher = samples(3, seed=1).requires_grad_(), samples(3, seed=2)
    generalized_energy_distance(student, teacher).sum().backward()
    assert float(student.grad.abs().sum()) > 0
    assert teacher.grad is None


def test_it_is_float32_within_autocast_and_exact_with_many_voxels() -> None:
    large = samples(2, 1, 2, (96, 96, 96), seed=3).float()
    other = samples(2, 1, 2, (96, 96, 96), seed=4).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = generalized_energy_distance(large, other)
        half = generalized_energy_distance(large.bfloat16(), other.bfloat16())
    assert found.dtype == half.dtype == torch.float32
    exact = generalized_energy_distance(large.double(), other.double())
    assert float((found - exact).abs()) < 1e-6
    assert float((half - exact).abs()) < 1e-2


def test_an_absent_class_and_a_single_voxel_are_finite() -> None:
    student = samples(3, 1, 3).clone()
    student[:, :, 2] = 0
    student.requires_grad_()
    found = generalized_energy_distance(student, student.detach())
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(student.grad).all()
    single = samples(2, 1, 2, (1, 1, 1)).requires_grad_()
    one = generalized_energy_distance(single, single)
    assert float(one.detach()) == pytest.approx(0, abs=1e-12)
    assert one.requires_grad
