from __future__ import annotations

import torch

from paucis.batch import IGNORE
from paucis.losses import dice_loss
from paucis.methods.parts.pseudo_labels import (
    PseudoLabels,
    PseudoLossOptions,
    largest_components,
    pseudo_labels,
    pseudo_loss,
)


def test_labels_are_the_most_probable_class_without_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, requires_grad=True)
    valid = torch.rand(2, 5, 4) > 0.3
    found = pseudo_labels(logits, valid)
    expected = logits.softmax(1).max(1)
    assert torch.equal(found.labels[valid], expected.indices[valid])
    assert (found.labels[~valid] == IGNORE).all()
    assert torch.allclose(found.confidence, expected.values)
    assert not found.confidence.requires_grad
    assert torch.equal(found.sure(0.5).bool(), expected.values >= 0.5)


def test_labels_and_confidence_are_pasted_alike() -> None:
    labels = torch.arange(3).reshape(3, 1, 1).expand(3, 4, 4)
    box = torch.zeros(3, 4, 4, dtype=torch.bool)
    box[0, 1:3, 1:3] = box[2, 0] = True
    pasted = PseudoLabels(labels, labels / 10).pasted(torch.tensor([1, 2, 0]), box)
    expected = labels.clone()
    expected[0, 1:3, 1:3], expected[2, 0] = 1, 0
    assert torch.equal(pasted.labels, expected)
    assert torch.equal(pasted.confidence, expected / 10)


def test_each_class_keeps_its_largest_component() -> None:
    labels = torch.zeros(2, 6, 8, dtype=torch.long)
    labels[0, 0, 0:2] = 1
    labels[0, 2:4, 0:2] = 1  # larger
    labels[0, 4, 2] = 1  # joined to it over a corner
    labels[0, 5, 6:8] = 2
    labels[0, 0, 7] = 2
    labels[1, 3, 3] = 3
    labels[1, 0, 0] = IGNORE
    expected = labels.clone()
    expected[0, 0, 0:2] = 0
    expected[0, 0, 7] = 0
    assert torch.equal(largest_components(labels, 4), expected)


def test_components_are_joined_over_corners_in_3d_and_an_empty_mask_stays_empty() -> None:
    labels = torch.zeros(2, 4, 4, 4, dtype=torch.long)
    for place in range(3):
        labels[0, place, place, place] = 1
    labels[0, 0, 3, 3] = 1
    kept = largest_components(labels, 2)
    assert int(kept[0].sum()) == 3
    assert kept[0, 0, 3, 3] == 0
    assert int(kept[1].sum()) == 0
    assert kept.dtype == torch.long


def _few_sure(sure: int) -> tuple[torch.Tensor, PseudoLabels]:
    """Logits of three classes, and labels that are sure of ``sure`` of 64 voxels, all background."""
    logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
    confidence = torch.zeros(1, 8, 8)
    confidence.view(-1)[:sure] = 1.0
    return logits, PseudoLabels(torch.zeros(1, 8, 8, dtype=torch.long), confidence)


def test_a_handful_of_sure_background_voxels_does_not_empty_the_foreground() -> None:
    gradients = {}
    for sure in (1, 64):
        for absent in ("left_out", "pushed_to_0"):
            logits, target = _few_sure(sure)
            pseudo_loss(logits, target, PseudoLossOptions(pseudo_loss="dice", absent=absent)).backward()
            gradients[sure, absent] = float(logits.grad[:, 1:].abs().sum())
    assert gradients[1, "pushed_to_0"] > 0.5 * gradients[64, "pushed_to_0"]  # as strong from one voxel as from all
    assert gradients[1, "left_out"] < 0.05 * gradients[64, "left_out"]


def test_the_loss_against_sure_labels_is_its_parts() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 6, 5), torch.randint(0, 3, (2, 6, 5))
    labels[0, 0] = IGNORE
    confidence = torch.rand(2, 6, 5)
    target, sure = PseudoLabels(labels, confidence), confidence >= 0.6
    counted = sure & (labels != IGNORE)
    each = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    ce = each[counted].sum() / (labels != IGNORE).sum()
    dice = dice_loss(logits, labels, weights=sure.float()) * counted.sum() / (labels != IGNORE).sum()
    for name, expected in {"ce": ce, "dice": dice, "both": 0.3 * ce + 0.7 * dice}.items():
        options = PseudoLossOptions(pseudo_loss=name, threshold=0.6, ce=0.3, dice=0.7)
        assert torch.allclose(pseudo_loss(logits, target, options), expected)
