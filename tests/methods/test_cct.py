from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import figures, look, reaches

from engine import TASKS, make, make_batch, make_setting
from paucis.losses import segmentation_loss
from paucis.methods.cct import CCT, CCTOptions
from paucis.networks.base import Network

BATCH = make_batch(TASKS[2])
SAME = {"noise": 0.0, "dropout": 0.0, "feature_dropout": (1.1, 1.1)}


def still(**options: Any) -> CCT:
    """Without perturbation, and with further decoders that are copies of the main one."""
    method = make("cct", 2, network={"normalization": "none", "dropout": (0.0,)}, **SAME, **options)
    for decoder in method.further:
        decoder.load_state_dict(method.network.decoder.state_dict())
    return method


def test_equal_decoders_on_equal_features_agree() -> None:
    assert figures(look(still(), BATCH))["consistency"] == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("change", [{"noise": 0.3}, {"dropout": 0.3}, {"feature_dropout": (0.7, 0.9)}])
def test_each_perturbation_makes_them_disagree(change: dict[str, Any]) -> None:
    method = still()
    method.options = CCTOptions(**{**SAME, **change})
    assert figures(look(method, BATCH))["consistency"] > 1e-6


def test_the_loss_is_the_mean_over_decoders_of_the_squared_difference_on_valid_unlabeled_voxels() -> None:
    method = make("cct", 2, network={"dropout": (0.0,)}, ramp_kind="constant", **SAME)
    images = torch.cat([BATCH.labeled.images, BATCH.unlabeled])
    result = look(method, BATCH)
    with torch.no_grad():
        features = method.network(images)
        others = [decoder(features.encoder, images.shape[2:])[1] for decoder in method.further]
    main = features.logits[2:].softmax(1)
    terms = [(main - each[2:].softmax(1)).square().mean(1)[BATCH.valid].mean() for each in others]
    assert figures(result)["consistency"] == pytest.approx(0.1 * float(sum(terms)) / 3, rel=1e-4)
    heads = [features.logits, *others]
    supervised = sum(float(segmentation_loss(each[:2], BATCH.labeled.labels)) for each in heads) / 4
    assert figures(result)["supervised"] == pytest.approx(supervised, rel=1e-4)


@pytest.mark.parametrize("detach", [True, False])
def test_the_consistency_passes_through_the_main_decoder_only_where_asked(detach: bool) -> None:
    method = make("cct", 2, detach=detach)
    loss = look(method, BATCH).losses["consistency"]
    assert reaches(loss, method.network.decoder) != detach
    assert reaches(loss, method.network.encoder)
    assert all(reaches(loss, decoder) for decoder in method.further)


@pytest.mark.parametrize("supervise", ["all", "main"])
def test_labels_teach_the_further_decoders_only_where_asked(supervise: Any) -> None:
    method = make("cct", 2, supervise=supervise)
    loss = look(method, BATCH).losses["supervised"]
    assert reaches(loss, method.network.decoder)
    assert all(reaches(loss, decoder) == (supervise == "all") for decoder in method.further)


def test_the_main_decoder_alone_predicts() -> None:
    method = make("cct", 2).eval()
    before = method.predict(BATCH.unlabeled).additive["probabilities"]
    with torch.no_grad():
        for parameter in method.further.parameters():
            parameter.add_(1.0)
    assert torch.equal(method.predict(BATCH.unlabeled).additive["probabilities"], before)


def test_a_network_without_further_decoders_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = make_setting(TASKS[2])
    assert CCT.check(setting, CCTOptions()) == []
    monkeypatch.setattr("paucis.networks.staged.StagedNetwork.new_decoder", Network.new_decoder)
    (problem,) = CCT.check(setting, CCTOptions())
    assert "further decoders" in problem
    assert "network=NAME" in problem
