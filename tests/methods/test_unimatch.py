from __future__ import annotations

import pytest
import torch

from engine import PLAIN, TASKS, Seen, make, make_batch, make_setting, step
from paucis.losses import dice_loss
from paucis.methods.parts.pseudo_labels import pseudo_labels
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.unimatch import UniMatch, UniMatchOptions

CALM = {"jitter": 0.0, "blur": 0.0, "network": PLAIN, "threshold": 0.0}


def test_two_strong_views_are_seen_once_and_differ() -> None:
    method, batch = make("unimatch", 2), make_batch(TASKS[2])
    seen = Seen(method.network)
    step(method, batch)
    (views,) = seen.images
    assert views.shape == (4, 1, 32, 24)
    assert not torch.allclose(views[:2], views[2:])


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_terms_are_weighted_as_published(ndim: int) -> None:
    """Without strong changes, boxes and dropped features each unlabeled term is the Dice loss against own labels."""
    method = make("unimatch", ndim, cutmix=0.0, feature_dropout=0.0, **CALM)
    batch = make_batch(TASKS[ndim])
    own = method.network(batch.unlabeled).logits
    expected = float(dice_loss(own, pseudo_labels(own, batch.valid).labels, named_only=True).detach())
    supervised = float(
        supervised_loss(method.network(batch.labeled.images).logits, batch.labeled, method.options).detach()
    )
    losses = {name: float(loss.detach()) for name, loss in step(method, batch).losses.items()}
    assert losses["supervised"] == pytest.approx(0.5 * supervised, rel=1e-4)
    assert losses["strong"] == pytest.approx(0.5 * 0.25 * 2 * expected, rel=1e-4)
    assert losses["feature"] == pytest.approx(0.5 * 0.5 * expected, rel=1e-4)


def test_dropping_features_changes_their_term_and_no_other() -> None:
    batch = make_batch(TASKS[2])
    kept, dropped = (
        step(make("unimatch", 2, cutmix=0.0, feature_dropout=share, **CALM), batch).losses for share in (0.0, 0.5)
    )
    assert abs(float((kept["feature"] - dropped["feature"]).detach())) > 1e-3
    for name in ("supervised", "strong"):
        assert float(kept[name].detach()) == pytest.approx(float(dropped[name].detach()), rel=1e-5)


def test_whole_channels_of_every_encoder_map_of_unlabeled_images_are_dropped() -> None:
    method, batch = make("unimatch", 2, network=PLAIN), make_batch(TASKS[2])
    given: list[list[torch.Tensor]] = []
    decode = method.network.decode
    method.network.decode = lambda maps, size: (given.append(list(maps)), decode(maps, size))[1]
    step(method, batch)
    maps = given[0]
    assert len(maps) == 3
    for each in maps:
        clean, dropped = each[2:4], each[4:]
        gone = (dropped == 0).flatten(2).all(2)
        assert gone.any()
        assert torch.equal(dropped[~gone], 2 * clean[~gone])


def test_images_labels_and_confidence_are_pasted_together() -> None:
    method = make("unimatch", 3, cutmix=1.0, cutmix_share=(0.2, 0.3), **CALM)
    number = torch.arange(3).reshape(3, 1, 1, 1).expand(3, *TASKS[3].patch)
    weak = pseudo_labels(torch.zeros(3, 4, *TASKS[3].patch))._replace(labels=number, confidence=number / 3)
    torch.manual_seed(0)
    images, mixed = method._mixed(number.unsqueeze(1).float(), weak)
    assert torch.equal(images[:, 0].long(), mixed.labels)
    assert torch.allclose(mixed.confidence * 3, mixed.labels.float())
    share = (mixed.labels != number).flatten(1).float().mean(1)
    assert ((share > 0.12) & (share < 0.4)).all()


def test_taking_out_the_box_changes_the_strong_term() -> None:
    batch = make_batch(TASKS[2])
    boxed, plain = (
        step(make("unimatch", 2, cutmix=probability, cutmix_share=(0.3, 0.4), **CALM), batch).losses["strong"]
        for probability in (1.0, 0.0)
    )
    assert abs(float((boxed - plain).detach())) > 1e-4


def test_the_threshold_takes_all_unlabeled_terms_away() -> None:
    method, batch = make("unimatch", 2, network=PLAIN, threshold=1.0), make_batch(TASKS[2])
    result = step(method, batch)
    assert float(result.losses["strong"].detach()) == float(result.losses["feature"].detach()) == 0.0
    assert float(result.monitors["sure"]) == 0.0
    (result.losses["strong"] + result.losses["feature"]).backward()
    assert all(float(p.grad.abs().max()) == 0.0 for p in method.parameters() if p.grad is not None)


def test_boxes_want_two_unlabeled_images() -> None:
    setting = make_setting(TASKS[2], unlabeled_batch_size=1)
    assert any("unlabeled_batch_size" in line for line in UniMatch.check(setting, UniMatchOptions()))
    assert UniMatch.check(setting, UniMatchOptions(cutmix=0.0)) == []
    assert torch.isfinite(step(make("unimatch", 2), make_batch(TASKS[2], unlabeled=1)).total)
