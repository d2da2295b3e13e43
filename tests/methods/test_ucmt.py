from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import figures, look, reaches, snapshot

from engine import TASKS, Engine, make, make_batch
from paucis.batch import IGNORE, Annotated
from paucis.losses import dice_loss
from paucis.methods import ucmt

BATCH = make_batch(TASKS[2])
PLAIN = {"dropout": (0.0,)}
STILL = {"blur": 0.0, "ramp_kind": "constant", "dice_background": True}


def test_students_are_compared_with_each_other_and_with_the_teacher_by_dice() -> None:
    method = make("ucmt", 2, network=PLAIN, mixed=0, **STILL)
    Engine(method).train(BATCH)
    result = figures(look(method, BATCH))
    images = torch.cat([BATCH.labeled.images, BATCH.unlabeled])
    one, two, teacher = (net(images).logits[2:] for net in (method.network, method.second, method.teacher))
    pseudo = [each.argmax(1).masked_fill(~BATCH.valid, IGNORE) for each in (one, two, teacher)]
    cross = dice_loss(one, pseudo[1]) + dice_loss(two, pseudo[0])
    taught = dice_loss(one, pseudo[2]) + dice_loss(two, pseudo[2])
    assert result["cross"] == pytest.approx(0.05 * float(cross.detach()), rel=1e-4)
    assert result["teacher"] == pytest.approx(0.05 * float(taught.detach()), rel=1e-4)
    assert set(result) == {"supervised", "cross", "teacher"}


def test_umix_adds_the_same_losses_on_images_that_are_not_the_same() -> None:
    whole = figures(look(make("ucmt", 2, network=PLAIN, **STILL), BATCH))
    without = figures(look(make("ucmt", 2, network=PLAIN, mixed=0, **STILL), BATCH))
    assert set(whole) - set(without) == {"mixed_supervised", "mixed_cross", "mixed_teacher"}
    for name, loss in without.items():
        assert whole[name] == pytest.approx(loss, rel=1e-4)
        assert whole[f"mixed_{name}"] != pytest.approx(loss, rel=1e-4)
        assert whole[f"mixed_{name}"] > 0


def test_pseudo_labels_move_with_their_blocks_unless_kept() -> None:
    shown: dict[str, float] = {}
    for where in ("moved", "kept"):
        method = make("ucmt", 2, network=PLAIN, mixed_labels=where, **STILL)
        shown[where] = figures(look(method, BATCH))["mixed_teacher"]
    assert shown["moved"] != pytest.approx(shown["kept"], rel=1e-4)


def test_labels_and_their_weights_move_with_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = make_batch(TASKS[2]).labeled.labels.clamp(max=3)
    images = labels.unsqueeze(1).float()
    batch = BATCH._replace(labeled=Annotated(images, labels, images[:, 0] / 4))
    learned: list[Annotated] = []

    def keep(logits: torch.Tensor, annotated: Annotated, options: Any) -> torch.Tensor:
        learned.append(annotated)
        return logits.sum() * 0

    monkeypatch.setattr(ucmt, "supervised_loss", keep)
    look(make("ucmt", 2, **STILL), batch)
    mixed = learned[-1]
    assert not torch.equal(mixed.images, images)
    assert torch.equal(mixed.images[:, 0], mixed.labels.float())
    assert torch.equal(mixed.weights, mixed.images[:, 0] / 4)


def test_gradients_reach_both_students_and_never_the_teacher() -> None:
    method = make("ucmt", 2)
    result = look(method, BATCH)
    for loss in result.losses.values():
        assert reaches(loss, method.network)
        assert reaches(loss, method.second)
    result.total.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_the_teacher_follows_the_weighted_mean_of_the_students() -> None:
    method = make("ucmt", 2, share=0.75, decay=0.9)
    engine = Engine(method, step=0)
    engine.train(BATCH)  # the first update copies
    mean = 0.75 * snapshot(method.network) + 0.25 * snapshot(method.second)
    assert torch.allclose(snapshot(method.teacher.network), mean, atol=1e-6)
    before = snapshot(method.teacher.network)
    engine.step = 90
    engine.train(make_batch(TASKS[2], 1))
    mean = 0.75 * snapshot(method.network) + 0.25 * snapshot(method.second)
    assert torch.allclose(snapshot(method.teacher.network), 0.9 * before + 0.1 * mean, atol=1e-6)


def test_students_see_blurs_of_their_own_and_the_teacher_the_image() -> None:
    method = make("ucmt", 2, mixed=0)
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs: seen.setdefault(name, inputs[0])

    for name, network in (("one", method.network), ("two", method.second), ("teacher", method.teacher)):
        network.register_forward_pre_hook(keep(name))
    look(method, BATCH)
    assert torch.equal(seen["teacher"], torch.cat([BATCH.labeled.images, BATCH.unlabeled]))
    assert not torch.equal(seen["one"], seen["teacher"])
    assert not torch.equal(seen["one"], seen["two"])


@pytest.mark.parametrize("predict", ["teacher", "first", "second"])
def test_the_prediction_is_the_one_asked_for(predict: Any) -> None:
    method = make("ucmt", 2, predict=predict)
    Engine(method).train(BATCH)
    method.eval()
    network = {"teacher": method.teacher, "first": method.network, "second": method.second}[predict]
    expected = network(BATCH.unlabeled).logits.softmax(1)
    assert torch.allclose(method.predict(BATCH.unlabeled).additive["probabilities"], expected, atol=1e-6)
