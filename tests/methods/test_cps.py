from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from engine import PLAIN, TASKS, Seen, make, make_batch, make_setting, step
from paucis.batch import IGNORE
from paucis.methods.cps import Cps, CpsOptions

FIXED = {"ramp_kind": "constant", "network": PLAIN, "consistency": 1.0}


def expected(one: torch.Tensor, two: torch.Tensor, valid: torch.Tensor) -> float:
    losses = []
    for logits, other in ((one, two), (two, one)):
        losses.append(F.cross_entropy(logits, other.argmax(1), reduction="none")[valid].mean())
    return float(sum(losses).detach())


@pytest.mark.parametrize("ndim", [2, 3])
def test_each_network_learns_the_others_labels(ndim: int) -> None:
    method, batch = make("cps", ndim, **FIXED), make_batch(TASKS[ndim])
    result = step(method, batch)
    one, two = (network(batch.unlabeled).logits for network in method.networks())
    assert float(result.losses["cross"].detach()) == pytest.approx(expected(one, two, batch.valid), rel=1e-4)


def test_labeled_images_are_labeled_by_the_networks_too_where_asked() -> None:
    method, batch = make("cps", 2, cps_on="all", **FIXED), make_batch(TASKS[2])
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    one, two = (network(images).logits for network in method.networks())
    valid = torch.cat([batch.labeled.labels != IGNORE, batch.valid])
    assert float(step(method, batch).losses["cross"].detach()) == pytest.approx(expected(one, two, valid), rel=1e-4)


def test_without_a_second_opinion_the_loss_is_another() -> None:
    batch = make_batch(TASKS[2])
    method = make("cps", 2, **FIXED)
    apart = float(step(method, batch).losses["cross"].detach())
    method.second.load_state_dict(method.network.state_dict())
    alone = float(step(method, batch).losses["cross"].detach())
    assert alone < apart - 0.01  # a network agrees with its own labels


def test_no_gradient_passes_through_labels() -> None:
    method, batch = make("cps", 2, **FIXED), make_batch(TASKS[2])
    images = torch.cat([batch.labeled.images, batch.unlabeled])
    step(method, batch).losses["cross"].backward()
    for network, other in (method.networks(), method.networks()[::-1]):
        got = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        labels = other(images).logits[2:].argmax(1).masked_fill(~batch.valid, IGNORE)
        alone = F.cross_entropy(network(images).logits[2:], labels, ignore_index=IGNORE)
        wanted = torch.autograd.grad(alone, list(network.parameters()))
        assert torch.allclose(got, torch.cat([each.flatten() for each in wanted]), atol=1e-5)


def test_cutmix_learns_mixed_labels_on_mixed_images() -> None:
    batch = make_batch(TASKS[2])._replace(valid=None)
    method = make("cps", 2, cutmix=True, cutmix_share=(0.3, 0.4), **FIXED)
    seen = Seen(method.network)
    loss = step(method, batch).losses["cross"]
    whole, mixed = seen.images[0], seen.images[1][2:]
    assert torch.equal(whole, batch.unlabeled)
    box = mixed[:, 0] != whole[:, 0]
    assert ((box.flatten(1).float().mean(1) - 0.35).abs() < 0.08).all()
    assert torch.equal(mixed, torch.where(box.unsqueeze(1), whole.flip(0), whole))
    total = 0.0
    for network, other in (method.networks(), method.networks()[::-1]):
        labels = other(whole).logits.argmax(1)
        target = torch.where(box, labels.flip(0), labels)
        total += float(F.cross_entropy(network(mixed).logits, target).detach())
    assert float(loss.detach()) == pytest.approx(total, rel=1e-4)
    plain = step(make("cps", 2, **FIXED), batch).losses["cross"]
    assert abs(float((plain - loss).detach())) > 1e-4


def test_cutmix_wants_two_unlabeled_images_and_the_rest_does_not() -> None:
    setting = make_setting(TASKS[2], unlabeled_batch_size=1)
    assert Cps.check(setting, CpsOptions()) == []
    assert any("unlabeled_batch_size" in line for line in Cps.check(setting, CpsOptions(cutmix=True)))
    assert torch.isfinite(step(make("cps", 2, cutmix=True), make_batch(TASKS[2], unlabeled=1)).total)
