"""Global and local contrast: what each stage moves, and the regions that are told apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine import TASKS, Engine, builder, make_batch, staged
from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.losses.paired_contrast import paired_contrast
from paucis.methods.base import METHODS, Clock, Phase
from paucis.methods.global_local import GlobalLocal, GlobalLocalOptions, decoder_block, regions


def method(task: Task = TASKS[2], depth: int = 3, **options: Any) -> GlobalLocal:
    torch.manual_seed(0)
    network = builder(task, dropout=(0.0,), depth=depth)
    return GlobalLocal(network, task, GlobalLocalOptions(**{"dim": 8, **options}))


@pytest.mark.parametrize("size", [(7, 9), (4, 6, 5)])
def test_regions_are_the_boxes_of_a_grid_from_the_first_voxel_on(size: tuple[int, ...]) -> None:
    maps = torch.randn(2, 3, *size)
    found = regions(maps, 2)
    counts = [length // 2 for length in size]
    place = torch.cartesian_prod(*[torch.arange(number) for number in counts])
    assert found.shape == (2, len(place), 3 * 2 ** len(size))
    for index, corner in enumerate(place.tolist()):
        box = maps[(slice(None), slice(None), *(slice(2 * c, 2 * c + 2) for c in corner))]
        assert torch.equal(found[:, index], box.flatten(1))


def test_a_region_longer_than_an_axis_takes_the_whole_of_it() -> None:
    assert regions(torch.randn(1, 4, 2, 9), 3).shape == (1, 3, 4 * 2 * 3)


def test_the_decoder_is_trained_up_to_its_block_and_nothing_else() -> None:
    one = method(blocks=1)
    assert one.site == "decoder.0"
    assert decoder_block(one.network, 99) == f"decoder.{sum(s.startswith('decoder.') for s in one.network.sites) - 1}"
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    Engine(one).train(make_batch(TASKS[2], 0), make_batch(TASKS[2], 1))
    moved = {name for name, value in one.network.state_dict().items() if not torch.equal(value, before[name])}
    trained = {name for name, value in one.network.named_parameters() if value.requires_grad}
    assert trained
    assert all(name.startswith("decoder.") for name in moved), "the encoder's statistics stay too"
    assert trained < {name for name, _ in one.network.named_parameters() if name.startswith("decoder.")}
    assert not [part for part in one.network.encoder_parts() if part.training]


def test_the_second_stage_begins_with_the_network_of_the_first() -> None:
    stages = METHODS.get("global_local").stages(GlobalLocalOptions(share=0.25))
    assert [(stage.name, stage.share, stage.continues) for stage in stages] == [
        ("global", 0.25, False),
        ("local", 0.75, True),
    ]
    (_, first), (_, second) = staged("global_local", 2)
    assert set(first.step(make_batch(TASKS[2]), Clock(0, 1), Phase("main", [])).losses) == {"contrast"}
    fresh = GlobalLocal(builder(TASKS[2]), TASKS[2], first.options, first)
    for name, value in first.networks()[0].state_dict().items():
        assert torch.equal(fresh.network.state_dict()[name], value)
    assert isinstance(second, GlobalLocal)


def test_the_loss_is_the_contrast_of_all_regions_of_two_equal_versions() -> None:
    still = {"brightness": 0.0, "contrast": 0.0, "blur": 0.0}
    one, batch = method(regions=1000, **still), make_batch(TASKS[2])
    one.eval()
    losses = one.step(batch, Clock(0, 1), Phase("main", [])).losses
    with one.network.tap([one.site]) as maps:
        one.network(batch.unlabeled)
    found = regions(one.project(maps[one.site]), 3)
    assert torch.allclose(losses["regions"], paired_contrast(found, found, 0.1), rtol=1e-4)


def test_fewer_regions_are_easier_and_one_is_none() -> None:
    losses = []
    for number in (2, 13):
        one = method(regions=number)
        torch.manual_seed(0)
        losses.append(float(one.step(make_batch(TASKS[2]), Clock(0, 1), Phase("main", [])).losses["regions"].detach()))
    assert losses[0] < losses[1]
    with pytest.raises(PaucisError, match="has one region: lower"):
        method(side=99).step(make_batch(TASKS[2]), Clock(0, 1), Phase("main", []))
