from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import PLAIN, TASKS, TOTAL, Engine, Seen, builder, make, make_batch, make_setting, staged, step
from paucis.batch import IGNORE
from paucis.losses import segmentation_loss
from paucis.methods.base import Clock
from paucis.methods.bcp import Bcp, BcpOptions, CopyPaste
from paucis.views.mixing import copy_paste_box


def pasted_box(ndim: int, seed: int = 0) -> Tensor:
    """The box that a step draws first."""
    torch.manual_seed(seed)
    return copy_paste_box(TASKS[ndim].patch, torch.default_generator)[0]


def test_the_teachers_stage_begins_with_the_pretrained_weights_in_student_and_teacher() -> None:
    (first, pretrained), (second, method) = staged("bcp", 2)
    assert (first.name, second.name) == ("pretrain", "train")
    assert first.share + second.share == pytest.approx(1.0)
    assert isinstance(pretrained, CopyPaste)
    built = {}
    torch.manual_seed(5)
    trained = first.make(builder(TASKS[2]), TASKS[2], built)
    Engine(trained).train(make_batch(TASKS[2]))
    built["pretrain"] = trained
    method = second.make(builder(TASKS[2]), TASKS[2], built)
    for network in (method.student, method.teacher.network):
        method.teacher._begin()
        for name, value in trained.network.state_dict().items():
            assert torch.equal(network.state_dict()[name], value), name
    (only,) = Bcp.stages(BcpOptions(pretraining=0.0))
    assert only.share == 1.0


def test_blocks_that_a_plugin_put_into_the_pretrained_network_are_left_to_the_plugin() -> None:
    first, second = Bcp.stages(BcpOptions())
    trained = first.make(builder(TASKS[2]), TASKS[2], {})
    trained.network.insert("encoder.0", nn.Conv2d(4, 4, 1))
    method = second.make(builder(TASKS[2]), TASKS[2], {"pretrain": trained})
    assert not method.student.inserted
    assert torch.equal(method.student.encoder[0][0][0].weight, trained.network.encoder[0][0][0].weight)


@pytest.mark.parametrize("ndim", [2, 3])
def test_labeled_and_unlabeled_images_are_pasted_both_ways(ndim: int) -> None:
    method, batch = (
        make("bcp", ndim, network=PLAIN, largest_component=False),
        make_batch(TASKS[ndim], labeled=4, unlabeled=4),
    )
    seen = Seen(method.student)
    losses = step(method, batch).losses
    inward, outward = seen.images
    box, (x, y, _), u = pasted_box(ndim), batch.labeled, batch.unlabeled
    assert 0.2 < float(box.float().mean()) < 0.5
    assert torch.equal(inward, torch.where(box, u[:2], x[:2]))
    assert torch.equal(outward, torch.where(box, x[2:], u[2:]))
    labels = method.teacher(u).logits.argmax(1).masked_fill(~batch.valid, IGNORE)

    def loss(images: Tensor, truth: Tensor, pseudo: Tensor, labeled: Tensor) -> float:
        logits = method.student(images).logits
        known = segmentation_loss(logits, torch.where(labeled, truth, IGNORE))
        guessed = segmentation_loss(logits, torch.where(labeled, IGNORE, pseudo))
        return float((known + 0.5 * guessed).detach())

    assert float(losses["inward"].detach()) == pytest.approx(loss(inward, y[:2], labels[:2], ~box), rel=1e-4)
    assert float(losses["outward"].detach()) == pytest.approx(loss(outward, y[2:], labels[2:], box), rel=1e-4)


def test_without_weight_on_pseudo_labels_the_teacher_has_no_say() -> None:
    batch = make_batch(TASKS[2])
    totals: dict[float, list[float]] = {0.0: [], 0.5: []}
    for alpha, found in totals.items():
        for shift in (0.0, 0.5):
            method = make("bcp", 2, network=PLAIN, alpha=alpha)
            with torch.no_grad():
                method.teacher.update(method.student, 0)
                method.teacher.network.decoder.head.bias[1] += 10 * shift
            found.append(float(step(method, batch).total.detach()))
    assert totals[0.0][0] == totals[0.0][1]
    assert abs(totals[0.5][0] - totals[0.5][1]) > 0.01


def test_the_size_of_the_box_changes_what_is_seen() -> None:
    batch, changed = make_batch(TASKS[2]), []
    for box in (0.25, 0.75):
        method = make("bcp", 2, network=PLAIN, box=box)
        seen = Seen(method.student)
        step(method, batch)
        changed.append(float((seen.images[0] == batch.unlabeled[:1]).float().mean()))
    assert changed[0] == pytest.approx(0.25**2, abs=0.01)
    assert changed[1] == pytest.approx(0.75**2, abs=0.01)


def test_pseudo_labels_keep_the_largest_component_where_asked() -> None:
    def pseudo(largest: bool) -> Tensor:
        method = make("bcp", 2, largest_component=largest)
        logits = torch.zeros(1, 4, 32, 24)
        logits[:, 2, 2:9, 2:9] = logits[:, 2, 20:23, 20:23] = 5.0
        method.teacher.forward = lambda images: type("F", (), {"logits": logits})()  # type: ignore[method-assign]
        return method._pseudo(torch.zeros(1, 1, 32, 24), torch.ones(1, 32, 24, dtype=torch.bool))

    assert int((pseudo(False) == 2).sum()) == 49 + 9
    assert int((pseudo(True) == 2).sum()) == 49
    assert int((pseudo(True) == 0).sum()) == 32 * 24 - 49


def test_parts_of_different_size_and_single_images_are_paired() -> None:
    method = make("bcp", 2, network=PLAIN)
    seen = Seen(method.student)
    for labeled, unlabeled, pairs in ((4, 2, 2), (2, 6, 3), (1, 1, 1), (3, 2, 2)):
        seen.images.clear()
        result = step(method, make_batch(TASKS[2], labeled=labeled, unlabeled=unlabeled))
        assert torch.isfinite(result.total)
        assert [len(images) for images in seen.images] == [pairs, pairs]


@pytest.mark.parametrize("regions", [False, True])
def test_pretraining_mixes_labeled_images_and_their_labels(regions: bool) -> None:
    torch.manual_seed(1)
    options = BcpOptions(pretrain_regions=regions)
    method = CopyPaste(builder(TASKS[2], **PLAIN), TASKS[2], options)
    seen, batch = Seen(method.network), make_batch(TASKS[2], labeled=4)
    torch.manual_seed(0)
    loss = method.step(batch, Clock(0, TOTAL), method.phases[0]).losses["supervised"]
    box, (x, y, _) = pasted_box(2), batch.labeled
    mixed, target = torch.where(box, x[2:], x[:2]), torch.where(box, y[2:], y[:2])
    assert torch.equal(seen.images[0], mixed)
    logits = method.network(mixed).logits
    expected = segmentation_loss(logits, target)
    if regions:
        expected = segmentation_loss(logits, torch.where(box, target, IGNORE))
        expected = expected + segmentation_loss(logits, torch.where(box, IGNORE, target))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_the_teacher_has_a_long_memory_from_the_second_step_on() -> None:
    method, weights = make("bcp", 2), []
    engine = Engine(method, step=0)
    for seed in range(2):
        engine.train(make_batch(TASKS[2], seed))
        weights.append(method.student.encoder[0][0][0].weight.detach().clone())
    assert not torch.equal(*weights)
    teacher = method.teacher.network.encoder[0][0][0].weight
    assert torch.allclose(teacher, 0.99 * weights[0] + 0.01 * weights[1], atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"batch_size": 3}, "train.batch_size"), ({"unlabeled_batch_size": 1}, "train.unlabeled_batch_size")],
)
def test_batches_that_cannot_be_halved_are_refused(changes: dict[str, Any], key: str) -> None:
    (line,) = Bcp.check(make_setting(TASKS[2], **changes), BcpOptions())
    assert key in line
