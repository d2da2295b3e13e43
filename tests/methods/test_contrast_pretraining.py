"""Pretrainings by contrast of images: what of the network they train, what they remember, and whom they compare."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Engine, builder
from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.joint_discrimination import paired_discrimination
from paucis.methods.base import METHODS, Clock, Method, Phase
from paucis.methods.densecl import correspondence
from paucis.methods.parts.image_views import ImageViewOptions, ImageViews, deepest

TASK = Task(2, 1, 4, (32, 32), (1.0, 1.0), flips=(0, 1))
NAMES = ["simclr", "moco", "densecl", "inst_disc", "emb_inva", "rot_ori"]
STILL: dict[str, Any] = {
    "rotation": 0.0,
    "scale": 0.0,
    "translation": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "blur": 0.0,
}


def method(name: str, task: Task = TASK, **options: Any) -> Any:
    torch.manual_seed(0)
    kind = METHODS.get(name)
    return kind(builder(task, dropout=(0.0,)), task, kind.Options(**{"dim": 8, **options}))


def batch(seed: int = 0, count: int = 4) -> Batch:
    images = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    images = torch.nn.functional.interpolate(images, scale_factor=4, mode="bicubic")
    return Batch(unlabeled=images, numbers=torch.arange(count), total=count)


def encoder(one: Method) -> list[Tensor]:
    return [value.clone() for name, value in one.networks()[0].named_parameters() if name.startswith("encoder")]


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_moves_and_the_decoder_stays(name: str) -> None:
    one = method(name)
    network = one.networks()[0]
    before = {key: value.clone() for key, value in network.named_parameters()}
    Engine(one).train(batch(0), batch(1), batch(2))
    moved = {key for key, value in network.named_parameters() if not torch.equal(value, before[key])}
    assert moved
    assert all(key.startswith("encoder") for key in moved)
    with pytest.raises(PaucisError, match="is a pretraining and predicts no classes"):
        one.predict(torch.zeros(1, 1, 32, 32))


def gap(one: Any, seen: Batch, name: str) -> float:
    """How much more alike two views of an image are than views of two images."""
    torch.manual_seed(5)
    with torch.no_grad():
        found = [one.encoded(one.views(seen.unlabeled)) for _ in range(2)]
    first, second = (torch.nn.functional.normalize(each[0] if name == "densecl" else each, dim=1) for each in found)
    similar = first @ second.T
    count = len(similar)
    return float(similar.diagonal().mean() - (similar.sum() - similar.trace()) / (count * (count - 1)))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rot_ori"])  # eight copies: slower, in its own file
def test_views_of_an_image_become_more_alike_than_those_of_others(name: str) -> None:
    mild = {"rotation": 5.0, "scale": 0.1, "translation": 0.05, "blur": 0.0}
    one = method(name, Task(2, 1, 4, (32, 32)), **mild, **({"queue": 16} if name in ("moco", "densecl") else {}))
    engine, seen = Engine(one), batch(0, 8)
    engine.optimizers = [torch.optim.Adam([p for p in one.parameters() if p.requires_grad], 3e-3)]
    before = gap(one, seen, name)
    engine.train(*[seen] * 40)
    assert gap(one, seen, name) > before + 0.1


@pytest.mark.parametrize("name", ["moco", "densecl"])
def test_the_queue_holds_the_keys_of_the_steps_before_and_the_average_follows(name: str) -> None:
    one = method(name, queue=6, decay=0.9)
    begun = encoder(one)
    Engine(one).train(batch(0))
    assert int(one.memory.filled[0]) == 4
    assert torch.allclose(one.memory.rows(0).norm(dim=1), torch.ones(4), atol=1e-5)
    followed = [v for k, v in one.average.network.network.named_parameters() if k.startswith("encoder")]
    now = encoder(one)
    for old, new, average in zip(begun, now, followed, strict=True):
        assert torch.allclose(average, 0.9 * old + 0.1 * new, atol=1e-6)
    Engine(one).train(batch(1))
    assert int(one.memory.filled[0]) == 6
    assert not any(parameter.requires_grad for parameter in one.average.parameters())


def test_the_first_step_of_a_queue_has_nothing_to_tell_apart_and_the_second_has() -> None:
    one = method("moco")
    first, second = (results[0].losses["contrast"] for results in Engine(one).train(batch(0), batch(1)))
    assert float(first.detach()) == 0.0
    assert float(second.detach()) > 0.1


def test_version_1_of_moco_has_one_layer_and_its_own_temperature() -> None:
    losses, last = {}, torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(3)))
    for head, temperature in (("mlp", 0.2), ("linear", 0.2), ("linear", 0.07)):
        one = method("moco", head=head, temperature=temperature, **STILL)
        one.memory.add(last, torch.zeros(5, dtype=torch.long))
        torch.manual_seed(1)
        losses[head, temperature] = float(one.step(batch(), Clock(0, 1), Phase("main", [])).losses["contrast"].detach())
    assert isinstance(one.encoded.project, torch.nn.Linear)
    assert sum(p.numel() for p in one.encoded.project.parameters()) == (one.encoded.channels + 1) * 8
    assert len(set(losses.values())) == 3


def test_emb_inva_is_the_joint_discrimination_of_both_views() -> None:
    one, seen = method("emb_inva", Task(2, 1, 4, (32, 32)), **STILL), batch()
    one.eval()  # batch statistics would couple the images
    loss = one.step(seen, Clock(0, 1), Phase("main", [])).losses["contrast"]
    vectors = one.encoded(seen.unlabeled)
    assert torch.allclose(loss, paired_discrimination(vectors, vectors, 0.1), rtol=1e-3)
    assert isinstance(one.encoded.project, torch.nn.Linear)


def test_a_place_finds_the_place_that_is_most_like_it() -> None:
    own = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([[3, 0, 4, 1, 2], [1, 2, 0, 4, 3]])
    theirs = torch.stack([one[row] for one, row in zip(own, order, strict=True)]) * 3
    found = correspondence(own, theirs)
    assert torch.equal(
        torch.stack([row[place] for row, place in zip(order, found, strict=True)]), torch.arange(5).expand(2, 5)
    )


def test_the_share_of_the_two_contrasts_of_densecl() -> None:
    losses = {}
    for share in (0.25, 0.5):
        one = method("densecl", dense=share)
        one.memory.add(torch.eye(8), torch.zeros(8, dtype=torch.long))
        one.dense_memory.add(torch.eye(8), torch.zeros(8, dtype=torch.long))
        torch.manual_seed(1)
        losses[share] = one.step(batch(), Clock(0, 1), Phase("main", [])).losses
    assert torch.allclose(losses[0.5]["place"], 2 * losses[0.25]["place"])
    assert torch.allclose(losses[0.5]["image"], losses[0.25]["image"] * 2 / 3)


def test_views_differ_at_every_call_and_not_at_all_without_changes() -> None:
    images = batch().unlabeled
    views = ImageViews(TASK, ImageViewOptions())
    assert not torch.allclose(views(images), views(images))
    plain = ImageViews(Task(2, 1, 4, (32, 32)), ImageViewOptions(**STILL))
    assert torch.allclose(plain(images), images, atol=1e-5)


def test_the_deepest_map_is_that_of_the_largest_number() -> None:
    network = builder(TASK, depth=3)()
    assert deepest(network) == "encoder.3"
