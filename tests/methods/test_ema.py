from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny_network import TASK, TinyNetwork
from torch import Tensor, nn

from paucis.methods.parts.ema import EmaTeacher


def one_weight(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def set_to(layer: nn.Linear, value: float) -> None:
    nn.init.constant_(layer.weight, value)


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, TASK.channels, *TASK.patch, generator=torch.Generator().manual_seed(seed))


def test_weights_after_k_steps_are_the_closed_form_with_warmup() -> None:
    student = one_weight(5.0)
    teacher = EmaTeacher(student, decay=0.6, warmup=True)
    expected = None
    for step, value in enumerate([1.0, 3.0, 2.0, 7.0, 9.0]):
        set_to(student, value)
        teacher.update(student, step)
        keep = min(1 - 1 / (step + 1), 0.6)
        expected = value if step == 0 else keep * expected + (1 - keep) * value  # type: ignore[operator]
        assert float(teacher.network.weight) == pytest.approx(expected, rel=1e-6)
    assert 3.0 < expected < 8.0


def test_weights_after_k_steps_are_the_closed_form_without_warmup() -> None:
    student = one_weight(10.0)
    teacher = EmaTeacher(student, decay=0.9, warmup=False)
    for step in range(1, 21):
        set_to(student, 0.0)
        if step == 1:
            set_to(student, 10.0)  # the teacher starts as the student before its first update
        teacher.update(student, step - 1)
    assert float(teacher.network.weight) == pytest.approx(10.0 * 0.9**19, rel=1e-5)


def test_the_teacher_is_an_exact_copy_after_the_first_step_of_a_warmup() -> None:
    student = TinyNetwork()
    teacher = EmaTeacher(student)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter))
    teacher.update(student, 0)
    for own, theirs in zip(teacher.network.parameters(), student.parameters(), strict=True):
        assert torch.equal(own, theirs)
        assert own.data_ptr() != theirs.data_ptr()


def test_after_training_the_teacher_is_neither_student_nor_zero_nor_where_it_began() -> None:
    torch.manual_seed(0)
    student = TinyNetwork()
    start = deepcopy(student.head.weight.detach())
    teacher = EmaTeacher(student, decay=0.9)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    for step in range(6):
        optimizer.zero_grad()
        student(images(step)).logits.square().mean().backward()
        optimizer.step()
        teacher.update(student, step)
    own = teacher.network.head.weight
    assert not torch.allclose(own, student.head.weight, atol=1e-5)
    assert not torch.allclose(own, start, atol=1e-5)
    assert own.abs().mean() > 0.5 * start.abs().mean()


def test_the_teacher_takes_no_gradient_and_the_student_does() -> None:
    student = TinyNetwork()
    teacher = EmaTeacher(student)
    loss = (student(images()).logits - teacher(images(1)).logits).square().mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in teacher.parameters())
    assert not teacher(images()).logits.requires_grad


@pytest.mark.parametrize("buffers", ["copy", "average", "own"])
def test_normalization_buffers_follow_the_option(buffers: Any) -> None:
    torch.manual_seed(0)
    student = TinyNetwork()
    teacher = EmaTeacher(student, decay=0.5, warmup=False, buffers=buffers, mode="train")
    teacher.update(student, 0)
    before = teacher.network.first[1].running_mean.clone()
    for seed in range(3):
        student(images(seed) + 2)
    theirs = student.first[1].running_mean
    teacher.update(student, 1)
    own = teacher.network.first[1]
    if buffers == "copy":
        assert torch.equal(own.running_mean, theirs)
    elif buffers == "average":
        assert torch.allclose(own.running_mean, 0.5 * before + 0.5 * theirs)
    else:
        assert torch.equal(own.running_mean, before)
        teacher(images(9) + 2)
        assert not torch.equal(own.running_mean, before)
    count = {"copy": 3, "average": 3, "own": 1}[buffers]
    assert int(own.num_batches_tracked) == count
    assert own.num_batches_tracked.dtype == torch.long


def test_an_eval_teacher_stays_in_eval_mode_and_may_not_keep_buffers_of_its_own() -> None:
    teacher = EmaTeacher(TinyNetwork(), mode="eval")
    assert not teacher.network.training
    teacher.train()
    assert not teacher.network.training
    trained = EmaTeacher(TinyNetwork(), mode="train").train()
    assert trained.network.training
    assert not trained.eval().network.training
    with pytest.raises(ValueError, match="eval mode"):
        EmaTeacher(TinyNetwork(), buffers="own", mode="eval")


def test_until_the_first_update_the_teacher_is_the_student_with_all_that_was_done_to_it() -> None:
    student = TinyNetwork()
    teacher = EmaTeacher(student, warmup=False, buffers="copy").eval()
    with torch.no_grad():
        student.head.weight.mul_(3.0)  # pretrained weights arrive
    student.insert("decoder.0", nn.Conv3d(5, 5, 1))  # a plug-in attaches
    student.eval()
    assert torch.equal(teacher(images()).logits, student(images()).logits)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    teacher.update(student, 0)
    with torch.no_grad():
        student.head.weight.mul_(3.0)
    assert not torch.allclose(teacher(images()).logits, student(images()).logits)


@pytest.mark.parametrize("updates", [0, 3])
def test_a_saved_teacher_comes_back_as_it_was_inserted_blocks_included(updates: int) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = TinyNetwork()
            self.teacher = EmaTeacher(self.student, decay=0.7)
            self.student.insert("encoder.0", nn.Conv3d(6, 6, 1))

    one, two = Holder(), Holder()
    for step in range(updates):
        with torch.no_grad():
            for parameter in one.student.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        one.teacher.update(one.student, step)
    two.load_state_dict(one.state_dict())
    one.eval(), two.eval()
    assert torch.equal(two.teacher(images()).logits, one.teacher(images()).logits)
    assert int(two.teacher.updates) == updates
    for holder in (one, two):
        with torch.no_grad():
            holder.student.head.weight.add_(1.0)
        holder.teacher.update(holder.student, updates)
    for own, theirs in zip(two.teacher.parameters(), one.teacher.parameters(), strict=True):
        assert torch.equal(own, theirs)


def test_the_student_is_not_owned_twice() -> None:
    student = TinyNetwork()
    teacher = EmaTeacher(student)
    assert all(module is not student for module in teacher.modules())
    assert len(list(teacher.parameters())) == len(list(student.parameters()))


def test_a_student_of_another_structure_is_refused() -> None:
    teacher = EmaTeacher(one_weight(1.0))
    with pytest.raises(RuntimeError, match="same parameters"):
        teacher.update(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), 0)
