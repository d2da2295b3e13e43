from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_network import TASK, TinyNetwork, tiny, tiny_batch

from paucis.batch import IGNORE, Batch
from paucis.losses import segmentation_loss
from paucis.methods.base import Clock, Setting, StepResult
from paucis.methods.mean_teacher import MeanTeacher, MeanTeacherOptions


def made(seed: int = 0, **options: Any) -> MeanTeacher:
    torch.manual_seed(seed)
    return MeanTeacher(tiny, TASK, MeanTeacherOptions(**options))


def run(method: MeanTeacher, batches: list[Batch], start: int = 0, total: int = 10) -> list[StepResult]:
    (phase,) = method.phases
    optimizer = torch.optim.SGD(phase.parameters, 0.1)
    results = []
    for step, batch in enumerate(batches, start):
        torch.manual_seed(1000 + step)
        clock = Clock(step, total)
        optimizer.zero_grad()
        result = method.step(batch, clock, phase)
        result.total.backward()
        optimizer.step()
        with torch.no_grad():
            method.after_step(clock, result)
        results.append(result)
    return results


def weights(method: MeanTeacher) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in method.student.parameters()])


def test_two_steps_train_on_a_patch_of_unequal_sizes_and_four_classes() -> None:
    method = made()
    before = weights(method)
    results = run(method, [tiny_batch(seed=0), tiny_batch(seed=1)])
    assert all(torch.isfinite(result.total) for result in results)
    assert set(results[0].losses) == {"supervised", "consistency"}
    assert not torch.equal(weights(method), before)


def test_unlabeled_images_change_the_update() -> None:
    # without normalization across the batch the consistency loss is the only way
    updates = []
    for seed in (0, 7):
        method = made(consistency=10.0, ramp_kind="constant")
        batch = tiny_batch()._replace(unlabeled=tiny_batch(seed=seed).unlabeled)
        method.student.first[1].eval()
        run(method, [batch])
        updates.append(weights(method))
    assert not torch.allclose(*updates, atol=1e-6)


def test_without_weight_the_unlabeled_images_change_nothing_but_the_batch_statistics() -> None:
    updates = []
    for seed in (0, 7):
        method = made(consistency=0.0)
        method.student.first[1].eval()
        run(method, [tiny_batch()._replace(unlabeled=tiny_batch(seed=seed).unlabeled)])
        updates.append(weights(method))
    assert torch.equal(*updates)


def test_the_loss_is_the_squared_difference_of_student_and_teacher_on_valid_unlabeled_voxels() -> None:
    method = made(noise=0.0, ramp_kind="constant")
    with torch.no_grad():
        method.teacher.update(method.student, 0)
        method.teacher.network.head.weight[0].add_(0.5)
    batch = tiny_batch()
    result = method.step(batch, Clock(5, 10), method.phases[0])
    student = method.student(torch.cat([batch.labeled.images, batch.unlabeled])).logits
    teacher = method.teacher(batch.unlabeled).logits
    difference = (student[2:].softmax(1) - teacher.softmax(1)).square().mean(1)
    expected = 0.1 * difference[batch.valid].mean()
    assert float(result.losses["consistency"].detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert float(expected.detach()) > 1e-4
    supervised = segmentation_loss(student[:2], batch.labeled.labels)
    assert float(result.losses["supervised"].detach()) == pytest.approx(float(supervised.detach()), rel=1e-5)


def test_the_student_is_compared_with_its_teacher_and_not_with_itself() -> None:
    method = made(noise=0.0)
    run(method, [tiny_batch(seed=seed) for seed in range(3)])
    apart = run(method, [tiny_batch()], start=3)[0].monitors["disagreement"]
    with torch.no_grad():
        method.teacher.network.load_state_dict(method.student.state_dict())
        method.teacher.train()
    batch = tiny_batch()._replace(labeled=tiny_batch().labeled._replace(images=tiny_batch().unlabeled[:2]))
    batch = batch._replace(unlabeled=batch.labeled.images, valid=None)  # equal batch statistics in both
    equal = method.step(batch, Clock(4, 10), method.phases[0]).monitors["disagreement"]
    assert float(apart) > 1e-6
    assert float(equal) == pytest.approx(0.0, abs=1e-10)


def test_no_gradient_reaches_the_teacher_and_none_of_it_is_optimized() -> None:
    method = made()
    method.step(tiny_batch(), Clock(5, 10), method.phases[0]).total.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    optimized = {id(parameter) for parameter in method.phases[0].parameters}
    assert optimized == {id(parameter) for parameter in method.student.parameters()}


def test_the_consistency_alone_moves_the_student() -> None:
    method = made(ramp_kind="constant")
    method.step(tiny_batch(), Clock(0, 10), method.phases[0]).losses["consistency"].backward()
    assert method.student.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("buffers", ["own", "copy", "average"])
def test_after_steps_the_teacher_is_neither_student_nor_zero(buffers: Any) -> None:
    method = made(teacher_buffers=buffers)
    run(method, [tiny_batch(seed=seed) for seed in range(4)])
    own, theirs = method.teacher.network.head.weight, method.student.head.weight
    assert not torch.allclose(own, theirs, atol=1e-5)
    assert own.abs().mean() > 0.3 * theirs.abs().mean()
    assert own.grad is None


def test_invalid_voxels_do_not_count() -> None:
    losses = []
    for value in (0.0, 50.0):
        method = made(noise=0.0, teacher_mode="eval", teacher_buffers="copy", ramp_kind="constant")
        with torch.no_grad():
            method.teacher.update(method.student, 0)
            method.teacher.network.head.bias.add_(1.0)
        method.student.eval()
        batch = tiny_batch()
        batch.unlabeled[:, :, -1] = value  # two voxels deep in padding, where no valid voxel's field reaches
        batch.valid[:, -4:] = False
        losses.append(method.step(batch, Clock(0, 10), method.phases[0]).losses["consistency"])
    assert torch.allclose(*losses)
    assert float(losses[0].detach()) > 0


def test_the_labeled_images_are_counted_where_asked() -> None:
    results = {}
    for where in ("unlabeled", "all"):
        method = made(noise=0.0, consistency_on=where, ramp_kind="constant")
        with torch.no_grad():
            method.teacher.network.head.bias[0].add_(1.0)
            method.teacher.updates.add_(1)
        batch = tiny_batch()
        batch.labeled.images.mul_(3.0)
        batch.labeled.labels[0] = IGNORE
        results[where] = float(method.step(batch, Clock(0, 10), method.phases[0]).losses["consistency"].detach())
    assert results["all"] != pytest.approx(results["unlabeled"], rel=1e-3)


def test_the_weight_rises_with_the_share_of_training() -> None:
    method = made(ramp=0.5, start=0.1)
    shown = [method.step(tiny_batch(), Clock(step, 100), method.phases[0]).monitors for step in (0, 10, 35, 60, 99)]
    expected = [0.0, 0.1 * math.exp(-5), 0.1 * math.exp(-1.25), 0.1, 0.1]
    assert [each["consistency_weight"] for each in shown] == pytest.approx(expected)


def test_noise_on_the_teacher_is_bounded_and_can_be_off() -> None:
    images = torch.zeros(3, 2, *TASK.patch)
    torch.manual_seed(0)
    seen: list[torch.Tensor] = []
    for noise in (0.1, 0.0):
        method = made(noise=noise)
        method.teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        method.step(tiny_batch()._replace(unlabeled=images), Clock(0, 10), method.phases[0])
    assert float(seen[0].abs().max()) == pytest.approx(0.2)
    assert float(seen[0].std()) == pytest.approx(0.1, rel=0.15)
    assert torch.equal(seen[1], images)


def test_features_for_plugins_belong_to_the_labeled_images() -> None:
    method = made()
    batch = tiny_batch()
    aligned = method.step(batch, Clock(0, 10), method.phases[0]).aligned
    assert torch.equal(aligned.labels, batch.labeled.labels)
    every = method.student(torch.cat([batch.labeled.images, batch.unlabeled]))
    assert torch.allclose(aligned.features.logits, every.logits[:2], atol=1e-6)
    assert torch.allclose(aligned.features.decoder[-1], every.decoder[-1][:2], atol=1e-6)


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_both_distances_train(distance: Any) -> None:
    method = made(distance=distance)
    results = run(method, [tiny_batch(seed=seed) for seed in range(2)])
    assert 0 < float(results[-1].losses["consistency"].detach()) < 1


def test_prediction_comes_from_the_network_asked_for() -> None:
    images = tiny_batch().unlabeled
    for predict in ("student", "teacher"):
        method = made(predict=predict)
        run(method, [tiny_batch(seed=seed) for seed in range(3)])
        method.eval()
        network = method.student if predict == "student" else method.teacher.network
        expected = network(images).logits.softmax(1)
        assert torch.allclose(method.predict(images).additive["probabilities"], expected, atol=1e-6)
    assert isinstance(method.networks()[0], TinyNetwork)
    assert method.networks() == (method.student,)


def test_stopping_and_resuming_gives_the_losses_of_not_stopping() -> None:
    batches = [tiny_batch(seed=seed) for seed in range(5)]
    whole = made()
    expected = run(whole, batches)
    stopped = made()
    run(stopped, batches[:3])
    resumed = made(seed=99)
    resumed.load_state_dict(stopped.state_dict())
    results = run(resumed, batches[3:], start=3)
    assert [float(result.total.detach()) for result in results] == [
        float(result.total.detach()) for result in expected[3:]
    ]
    for own, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(own, theirs)


def test_what_cannot_work_is_said_before_training() -> None:
    options = MeanTeacherOptions()
    assert MeanTeacher.check(Setting(TASK, 3, 5, 2, 2, "tiny"), options) == []
    assert "unlabeled" in MeanTeacher.check(Setting(TASK, 3, 0, 2, 2, "tiny"), options)[0]
    frozen = MeanTeacherOptions(teacher_mode="eval")
    assert "teacher_buffers=copy" in MeanTeacher.check(Setting(TASK, 3, 5, 2, 2, "tiny"), frozen)[0]
