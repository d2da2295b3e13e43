from __future__ import annotations

import pytest
import torch
from probes import figures, look, reaches

from engine import TASKS, make, make_batch
from paucis.losses import segmentation_loss
from paucis.methods.urpc import pyramid_consistency

BATCH = make_batch(TASKS[2])
DEEP = {"depth": 3}


def logits(seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(seed))


def test_the_consistency_equals_the_formula_voxel_by_voxel() -> None:
    rows = [logits(seed).double() for seed in range(3)]
    valid = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(9)) < 0.7
    probabilities = [row.softmax(1) for row in rows]
    mean = sum(probabilities) / 3
    total = 0.0
    for p in probabilities:
        squares, weights, divergences = [], [], []
        for image, i, j in valid.nonzero().tolist():
            pm, ps = mean[image, :, i, j], p[image, :, i, j]
            divergence = float((pm * (pm.log() - ps.log())).sum())
            weight = torch.tensor(-divergence).exp().item()
            squares += [float((a - b) ** 2) * weight for a, b in zip(pm, ps, strict=True)]
            weights.append(weight)
            divergences.append(divergence)
        rectified = (sum(squares) / len(squares)) / (sum(weights) / len(weights) + 1e-8)
        total += rectified + sum(divergences) / len(divergences)
    assert float(pyramid_consistency(rows, valid)) == pytest.approx(total / 3, rel=1e-5)


def test_equal_predictions_cost_nothing_and_any_order_costs_the_same() -> None:
    same = [logits(0)] * 4
    assert float(pyramid_consistency(same)) == pytest.approx(0.0, abs=1e-6)
    rows = [logits(seed) for seed in range(4)]
    assert torch.allclose(pyramid_consistency(rows), pyramid_consistency(rows[::-1]))


def test_probabilities_that_vanish_cost_a_finite_loss_with_a_finite_gradient() -> None:
    rows = [logits(seed, 400.0).requires_grad_(True) for seed in range(3)]
    loss = pyramid_consistency(rows)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(row.grad).all() for row in rows)


def test_no_valid_voxel_costs_nothing_even_where_gradients_are_scaled() -> None:
    rows = [logits(seed).requires_grad_(True) for seed in range(3)]
    loss = pyramid_consistency(rows, torch.zeros(2, 5, 3, dtype=torch.bool))
    (65536 * loss).backward()
    assert float(loss.detach()) == 0.0
    assert all(torch.equal(row.grad, torch.zeros_like(row)) for row in rows)


def test_every_decoder_map_has_a_prediction_at_full_size() -> None:
    method = make("urpc", 3, network={"depth": 2})
    batch = make_batch(TASKS[3])
    assert [tuple(each.shape) for each in method.pyramid(method.network(batch.unlabeled))] == [(2, 4, 16, 8, 12)] * 2
    assert len(make("urpc", 2, network=DEEP).heads) == 2
    assert len(make("urpc", 2, network={"depth": 3}, scales=2).heads) == 1


def test_labels_teach_every_scale_and_unlabeled_images_make_all_scales_move() -> None:
    method = make("urpc", 2, network=DEEP)
    result = look(method, BATCH)
    for loss in result.losses.values():
        assert all(reaches(loss, part) for part in (method.network.decoder.head, *method.heads))


def test_the_supervised_loss_is_the_mean_over_scales() -> None:
    method = make("urpc", 2, network={**DEEP, "dropout": (0.0,)}, perturb=False)
    result = look(method, BATCH)
    with torch.no_grad():
        pyramid = method.pyramid(method.network(torch.cat([BATCH.labeled.images, BATCH.unlabeled])))
    expected = sum(float(segmentation_loss(each[:2], BATCH.labeled.labels)) for each in pyramid) / 3
    assert figures(result)["supervised"] == pytest.approx(expected, rel=1e-5)


def test_training_perturbs_the_coarser_predictions_alone_and_prediction_none() -> None:
    method = make("urpc", 2, network={**DEEP, "normalization": "instance", "dropout": (0.0,)})
    features = method.network(BATCH.unlabeled)
    first, *others = (method.pyramid(features) for _ in range(8))
    assert all(torch.equal(first[0], other[0]) for other in others)
    for level in range(1, len(first)):  # two draws of a coarse map may drop the same places
        assert not all(torch.equal(first[level], other[level]) for other in others)
    method.eval()
    first, second = method.pyramid(features), method.pyramid(features)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_perturbation_changes_the_losses() -> None:
    results = []
    for perturb in (True, False):
        results.append(figures(look(make("urpc", 2, network=DEEP, perturb=perturb), BATCH)))
    assert results[0]["consistency"] != pytest.approx(results[1]["consistency"], rel=1e-3)


def test_coarse_predictions_are_enlarged_as_asked() -> None:
    shown = {}
    for kind in ("nearest", "linear"):
        method = make("urpc", 2, network=DEEP, upsampling=kind).eval()
        shown[kind] = method.pyramid(method.network(BATCH.unlabeled))[1]
    pairs = shown["nearest"].reshape(2, 4, 16, 2, 12, 2)
    assert torch.equal(pairs[:, :, :, 0, :, 0], pairs[:, :, :, 1, :, 1])
    assert not torch.allclose(shown["nearest"], shown["linear"])
