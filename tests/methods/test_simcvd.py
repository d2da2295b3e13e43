from __future__ import annotations

import pytest
import torch
from probes import figures, look, reaches, snapshot

from engine import TASKS, Engine, make, make_batch
from paucis.losses.paired_contrast import paired_contrast

BATCH = make_batch(TASKS[2])
SOLID = make_batch(TASKS[3])
PARTS = {"distance": "distance", "contrast": "contrast", "pairwise": "pairwise", "consistency": "consistency"}


def test_every_slice_of_a_volume_and_every_picture_is_one_vector() -> None:
    assert make("simcvd", 3).student(SOLID.unlabeled).vectors.shape == (2 * 16, 128)
    assert make("simcvd", 3, slices=2, width=8).student(SOLID.unlabeled).vectors.shape == (2 * 12, 8)
    assert make("simcvd", 2).student(BATCH.unlabeled).vectors.shape == (2, 128)


def test_a_slice_has_the_vector_of_its_own_distance_map_and_image() -> None:
    method = make("simcvd", 3).eval()
    view = method.student(SOLID.unlabeled)
    changed = SOLID.unlabeled.clone()
    shapes = changed + view.maps.mean(1, keepdim=True)
    alone = torch.nn.functional.adaptive_avg_pool2d(shapes[1, :, 3], 16).flatten()
    assert torch.allclose(view.vectors[16 + 3], method.student.project(alone), atol=1e-5)


def test_the_contrasts_pair_student_and_teacher() -> None:
    method = make("simcvd", 3, network={"dropout": (0.0,)}, noise=0.0, voxels=10_000)
    Engine(method).train(SOLID)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    result = figures(look(method, SOLID))
    images = torch.cat([SOLID.labeled.images, SOLID.unlabeled])
    own, theirs = method.student(images), method.teacher(images)
    contrast = paired_contrast(own.vectors, theirs.vectors, 0.5)
    maps = [view.features.encoder[-1].flatten(2).transpose(1, 2) for view in (own, theirs)]
    assert result["contrast"] == pytest.approx(0.5 * float(contrast.detach()), rel=1e-3)
    assert result["pairwise"] == pytest.approx(0.1 * float(paired_contrast(*maps, 0.5).detach()), rel=1e-3)


@pytest.mark.parametrize(("option", "name"), PARTS.items())
def test_taking_out_a_part_takes_out_its_loss_alone(option: str, name: str) -> None:
    whole = figures(look(make("simcvd", 2), BATCH))
    partial = figures(look(make("simcvd", 2, **{option: 0.0}), BATCH))
    assert partial.pop(name) == 0.0
    assert whole[name] > 0
    assert partial == pytest.approx({key: value for key, value in whole.items() if key != name})


def test_gradients_reach_what_each_loss_is_about_and_never_the_teacher() -> None:
    method = make("simcvd", 2)
    student, result = method.student, look(method, BATCH)
    assert reaches(result.losses["contrast"], student.project)
    assert reaches(result.losses["contrast"], student.head)
    assert reaches(result.losses["pairwise"], student.network.encoder)
    assert not reaches(result.losses["pairwise"], student.network.decoder)
    assert not reaches(result.losses["consistency"], student.head)
    result.total.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_the_teacher_follows_heads_and_network_and_is_not_the_student() -> None:
    method = make("simcvd", 2)
    Engine(method, step=0).train(BATCH)
    assert torch.equal(snapshot(method.teacher.network), snapshot(method.student))
    Engine(method, step=50).train(make_batch(TASKS[2], 1))
    assert not torch.allclose(snapshot(method.teacher.network), snapshot(method.student), atol=1e-6)
    assert method.networks() == (method.student.network,)
