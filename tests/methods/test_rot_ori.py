"""RotOri: copies of the other view are found for each angle, and turns are told from the encoder's map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Engine, builder, make_batch, make_setting
from paucis.batch import Task
from paucis.methods.base import Clock, Phase
from paucis.methods.rot_ori import RotOri, RotOriOptions, discriminate_copies

TASK = Task(2, 1, 4, (16, 16), (1.0, 1.0))


def method(task: Task = TASK, **options: Any) -> RotOri:
    torch.manual_seed(0)
    return RotOri(builder(task, dropout=(0.0,)), task, RotOriOptions(**{"dim": 8, **options}))


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(rows: Tensor, turns: int, count: int, temperature: float) -> float:
    """Row by row and angle by angle, in float64."""
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    terms = []
    for angle in range(turns):
        for row in range(len(rows)):
            view, turn, image = row // (turns * count), row // count % turns, row % count
            partner = ((1 - view) * turns + (turn + angle) % turns) * count + image
            keys = [k for k in range(len(rows)) if k == partner or k % count != image]
            q = torch.softmax(torch.stack([unit[row] @ unit[k] / temperature for k in keys]), 0)
            right = keys.index(partner)
            wrong = sum(torch.log1p(-q[k]) for k in range(len(keys)) if k != right)
            terms.append(-(torch.log(q[right]) + wrong))
    return float(torch.stack(terms).mean())


@pytest.mark.parametrize(("turns", "count"), [(4, 3), (1, 4), (2, 2)])
def test_copies_are_told_apart_as_in_the_loop(turns: int, count: int) -> None:
    rows = vectors(2 * turns * count, 5)
    assert float(discriminate_copies(rows, count, 0.3)) == pytest.approx(naive(rows, turns, count, 0.3), rel=1e-5)


def test_a_copy_is_no_negative_of_the_copies_of_its_own_image() -> None:
    eye = torch.eye(3)  # each image has one vector, whatever its turn and view
    invariant = discriminate_copies(eye.repeat(8, 1), 3, 0.1)
    assert float(invariant) == pytest.approx(naive(eye.repeat(8, 1), 4, 3, 0.1), rel=1e-4)
    assert float(invariant) < 0.01
    assert float(discriminate_copies(vectors(8, 5), 1, 0.1)) == 0.0, "a single image has nobody to be told from"


@pytest.mark.parametrize(("rotations", "copies"), [("all", 16), ("one", 4)])
def test_both_views_pass_in_every_turn_or_in_one(rotations: str, copies: int) -> None:
    one, shown = method(rotations=rotations), []
    encode = one.encoded.encode
    one.encoded.encode = lambda images: shown.append(len(images)) or encode(images)  # type: ignore[method-assign]
    batch = make_batch(TASK, unlabeled=2)
    losses = one.step(batch, Clock(0, 1), Phase("main", [])).losses
    assert shown == [copies]
    assert set(losses) == {"instance", "turn"}


def test_turn_and_image_are_learnt() -> None:
    coarse = vectors(4, 1, 4, 4, seed=1)
    shown = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic")
    ramp = torch.linspace(-1, 1, 16).reshape(1, 1, 16, 1)
    batch = make_batch(TASK, unlabeled=4)._replace(unlabeled=shown + ramp)
    one = method(rotation=0.0, scale=0.0, blur=0.0, turning=3.0)
    engine = Engine(one)
    engine.optimizers = [torch.optim.Adam([p for p in one.parameters() if p.requires_grad], 1e-2)]
    results = engine.train(*[batch] * 50)
    first, last = ({name: float(loss.detach()) for name, loss in results[k][0].losses.items()} for k in (0, -1))
    assert last["turn"] < 0.7 * first["turn"]
    assert last["instance"] < 0.7 * first["instance"]


def test_the_weight_of_the_turn_weighs() -> None:
    found = []
    for weight in (1.0, 3.0):
        one = method(turning=weight)
        torch.manual_seed(1)
        found.append(one.step(make_batch(TASK), Clock(0, 1), Phase("main", [])).losses["turn"].detach())
    assert torch.allclose(found[1], 3 * found[0])


def test_a_plane_that_is_not_there_is_refused_before() -> None:
    setting = make_setting(Task(2, 1, 2, (64, 64), (1.0, 1.0)))
    (line,) = RotOri.check(setting, RotOriOptions(plane=(0, 2)))
    assert "must name two different axes from -2 to 1" in line
    assert (
        "images of a batch apart"
        in RotOri.check(make_setting(setting.task, unlabeled_batch_size=1), RotOriOptions())[0]
    )
