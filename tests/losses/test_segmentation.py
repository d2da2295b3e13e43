from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.losses import cross_entropy, dice_loss, segmentation_loss


def drawn(*spatial: int, classes: int = 4, batch: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, classes, *spatial, generator=generator)
    labels = torch.randint(0, classes, (batch, *spatial), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORE
    return logits, labels, torch.rand(labels.shape, generator=generator)


def naive_dice(
    logits: Tensor, labels: Tensor, weights: Tensor | None, background: bool, squared: bool, batch: bool
) -> float:
    """The formula, voxel by voxel."""
    probabilities = logits.softmax(1)
    groups = [range(len(logits))] if batch else [[image] for image in range(len(logits))]
    losses = []
    for group in groups:
        for k in range(0 if background else 1, logits.shape[1]):
            overlap = size = 0.0
            for image in group:
                for at in torch.cartesian_prod(*(torch.arange(s) for s in labels.shape[1:])).tolist():
                    label = int(labels[(image, *at)])
                    if label == IGNORE:
                        continue
                    w = 1.0 if weights is None else float(weights[(image, *at)])
                    p, y = float(probabilities[(image, k, *at)]), float(label == k)
                    overlap += w * p * y
                    size += w * (p**2 + y**2 if squared else p + y)
            losses.append(1 - (2 * overlap + 1e-5) / (size + 1e-5))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("spatial", [(5, 4), (3, 4, 2)])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_dice_is_the_naive_loop(
    spatial: tuple[int, ...], background: bool, squared: bool, batch: bool, weighted: bool
) -> None:
    logits, labels, weights = drawn(*spatial)
    given = weights if weighted else None
    loss = dice_loss(logits, labels, weights=given, include_background=background, squared=squared, batch=batch)
    assert float(loss) == pytest.approx(naive_dice(logits, labels, given, background, squared, batch), abs=1e-5)


@pytest.mark.parametrize("spatial", [(5, 4), (3, 4, 2)])
def test_cross_entropy_is_the_naive_loop(spatial: tuple[int, ...]) -> None:
    logits, labels, weights = drawn(*spatial)
    total, count = 0.0, 0
    for image in range(len(logits)):
        for at in torch.cartesian_prod(*(torch.arange(s) for s in spatial)).tolist():
            label = int(labels[(image, *at)])
            if label != IGNORE:
                values = [float(logits[(image, k, *at)]) for k in range(4)]
                log_sum = math.log(sum(math.exp(value) for value in values))
                total += float(weights[(image, *at)]) * (log_sum - values[label])
                count += 1
    assert float(cross_entropy(logits, labels, weights=weights)) == pytest.approx(total / count, rel=1e-5)


def test_values_in_closed_form() -> None:
    labels = torch.tensor([[[0, 1], [1, 1]]])
    even = torch.zeros(1, 2, 2, 2)
    assert float(cross_entropy(even, labels)) == pytest.approx(math.log(2))
    # p = 1/2: class 0: 1 - 2*.5/(4*.25 + 1), class 1: 1 - 2*1.5/(1 + 3)
    assert float(dice_loss(even, labels)) == pytest.approx((0.5 + 0.25) / 2, abs=1e-4)
    assert float(dice_loss(even, labels, squared=False)) == pytest.approx((2 / 3 + 0.4) / 2, abs=1e-4)
    perfect = 100.0 * torch.nn.functional.one_hot(labels, 2).movedim(-1, 1)
    assert float(dice_loss(perfect, labels)) == pytest.approx(0.0, abs=1e-6)
    assert float(cross_entropy(perfect, labels)) == pytest.approx(0.0, abs=1e-6)


def test_probabilities_are_taken_as_they_are_where_asked() -> None:
    logits, labels, _ = drawn(4, 4)
    assert torch.allclose(dice_loss(logits.softmax(1), labels, softmax=False), dice_loss(logits, labels))


def test_weights_of_labels_scale_the_cross_entropy_and_zero_takes_a_voxel_out_of_dice() -> None:
    logits, labels, _ = drawn(6, 5)
    half = torch.full(labels.shape, 0.5)
    assert torch.allclose(cross_entropy(logits, labels, weights=half), 0.5 * cross_entropy(logits, labels))
    weights = torch.ones(labels.shape)
    weights[:, 2:4] = 0
    ignored = labels.clone()
    ignored[:, 2:4] = IGNORE
    assert torch.allclose(dice_loss(logits, labels, weights=weights), dice_loss(logits, ignored))


def test_segmentation_loss_is_the_mean_of_both_by_default() -> None:
    logits, labels, weights = drawn(3, 4, 5)
    both = 0.5 * (cross_entropy(logits, labels, weights=weights) + dice_loss(logits, labels, weights=weights))
    assert torch.allclose(segmentation_loss(logits, labels, weights=weights), both)
    assert torch.allclose(segmentation_loss(logits, labels, ce=0.0, dice=2.0), 2 * dice_loss(logits, labels))
    assert torch.allclose(segmentation_loss(logits, labels, ce=1.0, dice=0.0), cross_entropy(logits, labels))


def test_ignored_voxels_move_neither_value_nor_gradient() -> None:
    logits, labels, _ = drawn(4, 5)
    changed = torch.where(labels.eq(IGNORE).unsqueeze(1), torch.full_like(logits, 7.0), logits)
    assert torch.allclose(segmentation_loss(changed, labels), segmentation_loss(logits, labels))
    logits.requires_grad_()
    segmentation_loss(logits, labels).backward()
    gradient = logits.grad.movedim(1, -1)
    assert gradient[labels == IGNORE].abs().max() == 0
    assert (gradient[labels != IGNORE].abs().sum(-1) > 0).all()


def test_gradients_are_those_of_the_function() -> None:
    logits, labels, weights = drawn(3, 3, batch=2)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels, weights=weights.double()), (logits,))


def test_order_of_images_and_place_of_voxels_do_not_matter() -> None:
    logits, labels, _ = drawn(4, 5)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(segmentation_loss(logits[order], labels[order]), segmentation_loss(logits, labels))
    assert torch.allclose(segmentation_loss(logits.flip(2), labels.flip(1)), segmentation_loss(logits, labels))


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss, segmentation_loss])
def test_nothing_labeled_costs_nothing_and_still_goes_backward(loss: object) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((2, 4, 4), IGNORE))  # type: ignore[operator]
    assert float(value.detach()) == 0.0
    value.backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_a_class_that_is_absent_is_pushed_to_zero() -> None:
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[:, 2:] = 1
    loss = dice_loss(logits, labels)
    loss.backward()
    only_third = dice_loss(logits.detach(), labels) * 3 - dice_loss(logits.detach()[:, :2], labels) * 2
    assert torch.isfinite(loss)
    assert float(only_third) > 0.9
    assert (logits.grad[:, 2] > 0).all()


def test_a_class_that_is_absent_is_left_out_where_asked() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(0, 2, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    probabilities = logits.softmax(1)
    named = []
    for index in (0, 1):
        truth = (labels == index).float()
        overlap = (probabilities[:, index] * truth).sum()
        named.append(1 - (2 * overlap + 1e-5) / (probabilities[:, index].square().sum() + truth.sum() + 1e-5))
    assert torch.allclose(dice_loss(logits, labels, named_only=True), torch.stack(named).mean())
    nothing = dice_loss(logits, torch.full_like(labels, IGNORE), named_only=True)
    assert nothing.item() == 0.0
    nothing.backward()


def test_one_voxel_is_enough() -> None:
    logits = torch.tensor([[[[0.0]], [[0.0]]]], requires_grad=True)
    loss = segmentation_loss(logits, torch.ones(1, 1, 1, dtype=torch.long))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad[0, 1] < 0 < logits.grad[0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, labels, weights = drawn(24, 20, 16, batch=2)
    half = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = segmentation_loss(half, labels, weights=weights)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, segmentation_loss(logits.to(dtype).float(), labels, weights=weights))
    assert torch.isfinite(half.grad).all()


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([300.0, -300.0]).reshape(1, 2, 1, 1).bfloat16().requires_grad_()
    loss = segmentation_loss(logits, torch.ones(1, 1, 1, dtype=torch.long))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
