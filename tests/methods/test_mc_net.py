from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import figures, look, reaches

from engine import TASKS, make, make_batch, make_setting
from paucis.losses.sharpen import sharpen
from paucis.methods.mc_net import MCNet, MCNetOptions

BATCH = make_batch(TASKS[2])
PLAIN = {"dropout": (0.0,)}


@pytest.mark.parametrize(("version", "decoders"), [("v1", 2), ("v2", 3)])
def test_the_version_says_how_many_decoders_and_each_enlarges_in_its_way(version: Any, decoders: int) -> None:
    method = make("mc_net", 2, version=version)
    kinds = [str(decoder.ups) for decoder in (method.network.decoder, *method.further)]
    assert len(set(kinds)) == decoders == len(kinds)
    assert "ConvTranspose" in kinds[0]
    assert "bilinear" in kinds[1]
    assert all("nearest" in kind for kind in kinds[2:])


@torch.no_grad()
def test_the_loss_is_the_sum_over_ordered_pairs_against_sharpened_predictions() -> None:
    method = make("mc_net", 2, network=PLAIN, ramp_kind="constant", consistency=1.0)
    images = torch.cat([BATCH.labeled.images, BATCH.unlabeled])
    features = method.network(images)
    logits = [features.logits, *(decoder(features.encoder, images.shape[2:])[1] for decoder in method.further)]
    p = [each.softmax(1) for each in logits]
    valid = torch.cat([BATCH.labeled.labels.ne(255), BATCH.valid])
    expected = sum(
        float((p[i] - sharpen(p[j], 0.1)).square().mean(1)[valid].mean()) for i in range(3) for j in range(3) if i != j
    )
    assert figures(look(method, BATCH))["consistency"] == pytest.approx(expected, rel=1e-4)


def test_taking_out_the_third_decoder_changes_the_losses() -> None:
    three = figures(look(make("mc_net", 2, network=PLAIN), BATCH))
    two = figures(look(make("mc_net", 2, network=PLAIN, version="v1"), BATCH))
    assert 1.2 < three["supervised"] / two["supervised"] < 1.8
    assert 2.0 < three["consistency"] / two["consistency"] < 4.5


def test_both_losses_teach_encoder_and_all_decoders() -> None:
    method = make("mc_net", 2)
    for loss in look(method, BATCH).losses.values():
        assert all(reaches(loss, part) for part in (method.network.encoder, method.network.decoder, *method.further))


def test_a_held_target_changes_the_gradient_and_not_the_loss() -> None:
    gradients, losses = [], []
    for detach in (False, True):
        method = make("mc_net", 2, network=PLAIN, detach=detach)
        loss = look(method, BATCH).losses["consistency"]
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(method.network.decoder.head.weight.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert not torch.allclose(*gradients, rtol=0.05)


def test_sharpening_per_class_differs_for_four_classes() -> None:
    results = [
        figures(look(make("mc_net", 2, network=PLAIN, sharpen_per_class=each), BATCH))["consistency"]
        for each in (False, True)
    ]
    assert results[0] != pytest.approx(results[1], rel=0.01)


def test_labeled_images_count_in_the_consistency_unless_asked_otherwise() -> None:
    other = make_batch(TASKS[2], 1)
    batches = [BATCH, BATCH._replace(labeled=other.labeled)]
    for where, same in (("unlabeled", True), ("all", False)):
        method = make("mc_net", 2, network={**PLAIN, "normalization": "instance"}, consistency_on=where)
        first, second = (figures(look(method, batch))["consistency"] for batch in batches)
        assert (first == pytest.approx(second, rel=1e-5)) == same


def test_the_published_weight_follows_the_dimensions() -> None:
    assert make("mc_net", 2).options.consistency == 0.1
    assert make("mc_net", 3).options.consistency == 1.0
    assert make("mc_net", 3, consistency=0.3).options.consistency == 0.3


def test_a_network_that_knows_too_few_ways_to_enlarge_is_refused_before_training() -> None:
    assert MCNet.check(make_setting(TASKS[2]), MCNetOptions()) == []
    few = make_setting(TASKS[2], network="resnet50_unet")
    assert "3 decoders" in MCNet.check(few, MCNetOptions())[0]
    assert MCNet.check(few, MCNetOptions(version="v1")) == []
    none = make_setting(TASKS[2], network="deeplabv3plus")
    assert "2 decoders" in MCNet.check(none, MCNetOptions(version="v1"))[0]
