"""The three contrasts between classes: of vectors among each other, of pairs, and with prototypes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from paucis.batch import IGNORE
from paucis.losses import pairwise_contrastive, prototype_contrastive, supervised_contrastive


def vectors(number: int, width: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, width, generator=generator, dtype=torch.float64), dim=1)


LABELS = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3, 7])
PAIRWISE = pytest.mark.parametrize("contrast", [supervised_contrastive, pairwise_contrastive])


def naive_supervised(f: Tensor, labels: Tensor, t: float) -> float:
    losses = []
    for i in range(len(f)):
        positives = [p for p in range(len(f)) if p != i and labels[p] == labels[i]]
        if positives:
            below = sum(math.exp(float(f[i] @ f[o]) / t) for o in range(len(f)) if o != i)
            terms = [-math.log(math.exp(float(f[i] @ f[p]) / t) / below) for p in positives]
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


def naive_pairwise(f: Tensor, labels: Tensor, t: float) -> float:
    losses = []
    for i in range(len(f)):
        positives = [p for p in range(len(f)) if p != i and labels[p] == labels[i]]
        negatives = [n for n in range(len(f)) if labels[n] != labels[i]]
        if positives and negatives:
            far = sum(math.exp(float(f[i] @ f[n]) / t) for n in negatives) / len(negatives)
            near = [math.exp(float(f[i] @ f[p]) / t) for p in positives]
            losses.append(-sum(math.log(e / (e + far)) for e in near) / len(near))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.07, 1.0, 100.0])
def test_both_are_the_loops_over_their_sums(temperature: float) -> None:
    f = vectors(len(LABELS))
    expected = naive_supervised(f, LABELS, temperature)
    assert float(supervised_contrastive(f, LABELS, temperature)) == pytest.approx(expected, rel=1e-10)
    expected = naive_pairwise(f, LABELS, temperature)
    assert float(pairwise_contrastive(f, LABELS, temperature)) == pytest.approx(expected, rel=1e-10)


def test_closed_forms_of_two_opposite_classes() -> None:
    f = torch.tensor([[1.0, 0.0]] * 3 + [[-1.0, 0.0]] * 3)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    expected = math.log(2 + 3 * math.exp(-2 / 0.5))  # two others at the same place, three across
    assert float(supervised_contrastive(f, labels, 0.5)) == pytest.approx(expected, rel=1e-6)
    assert float(pairwise_contrastive(f, labels, 0.5)) == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-5)


@PAIRWISE
def test_gradients_are_those_of_finite_differences(contrast) -> None:
    f = vectors(len(LABELS)).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: contrast(values, LABELS, 0.5), (f,))


@PAIRWISE
def test_a_step_down_the_gradient_draws_a_class_together(contrast) -> None:
    f = vectors(len(LABELS)).requires_grad_()
    contrast(f, LABELS, 0.5).backward()
    moved = F.normalize(f.detach() - 0.1 * f.grad, dim=1)
    same = LABELS[:, None] == LABELS[None]

    def gap(values: Tensor) -> float:
        near = values @ values.T
        return float(near[same].mean() - near[~same].mean())

    assert gap(moved) > gap(f.detach())


@PAIRWISE
def test_order_and_names_of_classes_are_of_no_account(contrast) -> None:
    f, order = vectors(len(LABELS)), torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
    expected = float(contrast(f, LABELS, 0.3))
    assert float(contrast(f[order], LABELS[order], 0.3)) == pytest.approx(expected)
    assert float(contrast(f, 9 - LABELS, 0.3)) == pytest.approx(expected)


@PAIRWISE
@pytest.mark.parametrize("labels", [[], [4], [0, 1, 2]])
def test_nothing_to_contrast_is_0_with_a_gradient(contrast, labels: list[int]) -> None:
    f = vectors(len(labels)).requires_grad_()
    loss = contrast(f, torch.tensor(labels, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(f.grad, torch.zeros_like(f))


def test_one_class_alone_contrasts_within_itself_but_has_no_pairs_across() -> None:
    f, labels = vectors(4).requires_grad_(), torch.zeros(4, dtype=torch.long)
    assert float(supervised_contrastive(f, labels).detach()) > 0
    loss = pairwise_contrastive(f, labels)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(f.grad).all()


def test_all_are_float32_within_autocast() -> None:
    f = vectors(len(LABELS)).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        for loss in (
            supervised_contrastive(f.bfloat16(), LABELS),
            pairwise_contrastive(f.bfloat16(), LABELS, 0.1),
            prototype_contrastive(f.bfloat16(), LABELS, torch.ones(8, 5), torch.ones(8, 5), 1.0),
        ):
            assert loss.dtype == torch.float32
            assert torch.isfinite(loss)
        exact = supervised_contrastive(f, LABELS)
    assert float(exact.detach()) == pytest.approx(naive_supervised(f.detach().double(), LABELS, 0.07), rel=1e-5)


MEANS, VARIANCES = vectors(4, seed=3) * 0.7, vectors(4, seed=4).square()
CLASSES = torch.tensor([0, 1, 1, 3, 2, 0])


def naive_prototypes(f: Tensor, labels: Tensor, covariances: list[Tensor], t: float) -> float:
    losses = []
    for vector, label in zip(f, labels.tolist(), strict=True):
        if label == IGNORE:
            continue
        spread = [float(vector @ each @ vector) / (2 * t * t) for each in covariances]
        logits = [float(vector @ mean) / t + more for mean, more in zip(MEANS, spread, strict=True)]
        below = math.log(sum(math.exp(logit) for logit in logits))
        losses.append(below - logits[label] + spread[label])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
def test_prototypes_are_the_loop_with_diagonal_and_full_covariance(temperature: float) -> None:
    f = vectors(6, seed=5)
    diagonal = [torch.diag(each) for each in VARIANCES]
    expected = naive_prototypes(f, CLASSES, diagonal, temperature)
    assert float(prototype_contrastive(f, CLASSES, MEANS, VARIANCES, temperature)) == pytest.approx(expected)
    root = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    full = root @ root.mT
    expected = naive_prototypes(f, CLASSES, list(full), temperature)
    assert float(prototype_contrastive(f, CLASSES, MEANS, full, temperature)) == pytest.approx(expected)


def test_prototypes_are_the_expected_numerator_of_normal_classes() -> None:
    """The variance term and the logits are the closed form of E exp(f . x / t) for normal x."""
    generator = torch.Generator().manual_seed(7)
    f, t = vectors(1, 3, seed=8)[0], 0.8
    mean, variance = torch.tensor([0.3, -0.2, 0.5]).double(), torch.tensor([0.2, 0.1, 0.3]).double()
    drawn = mean + variance.sqrt() * torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    expected = float((drawn @ f / t).exp().mean().log())
    other = torch.zeros(2, 3).double()
    other[0] = mean
    spread = torch.zeros(2, 3).double()
    spread[0] = variance
    logit = float(f @ mean / t + f.square() @ variance / (2 * t * t))
    assert logit == pytest.approx(expected, abs=5e-3)
    # against a class with no mean and no variance: -f.m/t + log(e^logit + 1)
    loss = prototype_contrastive(f[None], torch.tensor([0]), other, spread, t)
    assert float(loss) == pytest.approx(-float(f @ mean) / t + math.log(math.exp(logit) + 1), rel=1e-9)


def test_at_the_published_temperature_the_contrast_is_nearly_constant() -> None:
    f, means = vectors(50, 16), vectors(2, 16, seed=1)
    labels = torch.arange(50) % 2
    loss = prototype_contrastive(f, labels, means, torch.zeros(2, 16).double(), 100.0)
    assert float(loss) == pytest.approx(math.log(2), abs=0.011)


def test_gradient_reaches_the_vectors_and_only_counted_ones() -> None:
    f, labels = vectors(6, seed=5).requires_grad_(), CLASSES.clone()
    labels[2] = IGNORE
    arguments = (labels, MEANS, VARIANCES, 0.5)
    assert torch.autograd.gradcheck(lambda values: prototype_contrastive(values, *arguments), (f,))
    loss = prototype_contrastive(f, *arguments)
    loss.backward()
    assert float(f.grad[2].abs().sum()) == 0
    assert bool((f.grad[[0, 1, 3, 4, 5]].abs().sum(1) > 0).all())
    rest = labels.ne(IGNORE)
    alone = prototype_contrastive(f.detach()[rest], labels[rest], *arguments[1:])
    assert float(loss.detach()) == pytest.approx(float(alone))


@pytest.mark.parametrize("number", [0, 3])
def test_no_counted_vector_is_0_with_a_gradient(number: int) -> None:
    f = vectors(number).requires_grad_()
    loss = prototype_contrastive(f, torch.full((number,), IGNORE), MEANS, VARIANCES)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(f.grad, torch.zeros_like(f))
