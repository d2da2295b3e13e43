from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import TASKS, Engine, make_batch, make_setting, staged
from paucis.batch import Batch, Task
from paucis.losses.joint_discrimination import paired_discrimination
from paucis.methods.base import METHODS, Clock, Phase
from paucis.methods.ld import LDOptions, LocalDiscrimination
from paucis.methods.parts.patch_views import LocalViewOptions, LocalViews
from paucis.networks import make
from paucis.views import Flip
from paucis.views.flip import FlipParams
from paucis.views.orientations import OrientationParams

STILL: dict[str, Any] = {"rotation": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "gray": 0.0}
PHASE = Phase("main", [])


def method(ndim: int = 2, task: Task | None = None, **options: Any) -> LocalDiscrimination:
    task = task or Task(ndim, 1, 2, (16,) * ndim, (1.0,) * ndim)
    torch.manual_seed(0)
    return LocalDiscrimination(
        lambda: make("unet", task, {"features": 4, "depth": 2}),
        task,
        LDOptions(**{"dim": 8, "clusters": 4, "grid": (4,), **options}),
    )


def batch(images: Tensor) -> Batch:
    return Batch(unlabeled=images, valid=torch.ones_like(images[:, 0], dtype=torch.bool))


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ndim", [2, 3])
def test_patches_of_a_turned_image_turned_back_are_those_of_the_image(ndim: int) -> None:
    views = LocalViews(Task(ndim, 1, 2, (16,) * ndim, (1.0,) * ndim), LocalViewOptions(grid=(4,), **STILL))
    maps = pictures(1, 5, *[16] * ndim)
    straight = views.pool(maps)
    assert len(views.allowed) == (4 if ndim == 2 else 24)
    for turn in views.allowed.tolist():
        turns = OrientationParams(torch.tensor([turn]))
        back = views.turning.invert(views.pool(views.turning.image(maps, turns)), turns)
        assert torch.allclose(back, straight, atol=1e-6)
        if turn:
            assert not torch.allclose(views.pool(views.turning.image(maps, turns)), straight, atol=1e-2)


def test_all_eight_pairs_of_a_double_flip_and_a_quarter_turn_are_undone_on_the_grid() -> None:
    views = LocalViews(Task(2, 1, 2, (16, 16), (1.0, 1.0)), LocalViewOptions(grid=(8,), **STILL))
    maps, flip = pictures(1, 3, 16, 16), Flip((0, 1))
    for flipped, k in product((False, True), range(4)):
        mirrored = FlipParams(torch.tensor([[flipped, flipped]]))
        turned = torch.rot90(flip.image(maps, mirrored), k, (2, 3))
        back = flip.invert(torch.rot90(views.pool(turned), -k, (2, 3)), mirrored)
        assert torch.allclose(back, views.pool(maps), atol=1e-6)
        same = OrientationParams(torch.tensor([(k + 2 * flipped) % 4]))
        assert torch.equal(views.turning.image(maps, same), turned), "one of the four turns that are drawn"


def test_images_are_turned_only_where_sides_spacing_and_grid_allow() -> None:
    for patch, spacing, grid, turns in [
        ((16, 24), (1.0, 1.0), (4,), 2),
        ((16, 16), (1.0, 2.0), (4,), 2),
        ((16, 16), (1.0, 1.0), (4, 2), 2),
        ((8, 16, 16), (3.0, 1.0, 1.0), (2, 4, 4), 8),
    ]:
        task = Task(len(patch), 1, 2, patch, spacing)
        views = LocalViews(task, LocalViewOptions(grid=grid, **STILL))
        assert len(views.allowed) == turns
        images = pictures(6, 1, *patch)
        first, second, drawn = views(images)
        assert first.shape == second.shape == images.shape
        assert torch.equal(views.turning.invert(second, drawn), first)
    still = LocalViews(Task(2, 1, 2, (16, 16)), LocalViewOptions(turns=False, **STILL))
    assert still.allowed.tolist() == [0]


def test_the_views_of_an_image_differ_in_small_ways_and_color_only_where_there_is_some() -> None:
    for channels in (1, 3):
        task = Task(2, channels, 2, (16, 16), (1.0, 1.0))
        views = LocalViews(task, LocalViewOptions(turns=False))
        first, second, _ = views(pictures(4, channels, 16, 16))
        assert not torch.allclose(first, second)
        colors = LocalViews(task, LocalViewOptions(turns=False, **{**STILL, "gray": 1.0}))
        gray, _, _ = colors(pictures(4, channels, 16, 16))
        assert torch.allclose(gray[:, 0], gray[:, -1], atol=1e-6)


def test_the_loss_of_patches_is_the_published_criterion_on_both_views_of_every_patch() -> None:
    ld = method(mixup=0.0, **STILL)
    ld.eval()  # batch statistics would couple the views
    images = pictures(3, 1, 16, 16)
    torch.manual_seed(1)
    losses = ld.step(batch(images), Clock(0, 1), PHASE).losses
    torch.manual_seed(1)
    first, second, turns = ld.views(images)
    rows = [
        torch.nn.functional.normalize(
            torch.nn.functional.adaptive_avg_pool2d(ld.embed(view), 4).flatten(2).mT.flatten(0, 1), dim=1
        )
        for view in (first, ld.views.turning.invert(second, turns))
    ]
    straight = paired_discrimination(rows[0], rows[0], 0.1)  # a network sees the turned view, not the image
    assert set(losses) == {"patches", "regions", "entropy"}
    assert not torch.allclose(losses["patches"], straight)
    turned = torch.nn.functional.adaptive_avg_pool2d(ld.embed(second), 4)
    back = torch.nn.functional.normalize(ld.views.turning.invert(turned, turns).flatten(2).mT.flatten(0, 1), dim=1)
    assert torch.allclose(losses["patches"], paired_discrimination(rows[0], back, 0.1), rtol=1e-4)


def test_a_mixture_of_an_image_with_itself_has_the_images_vectors_as_target() -> None:
    ld = method(mix=(1.0, 1.0), **STILL)
    ld.eval()
    images = pictures(1, 1, 16, 16).repeat(2, 1, 1, 1)
    losses = ld.step(batch(images), Clock(0, 1), PHASE).losses
    patches = ld.views.pool(ld.embed(images[:1])).flatten(2).mT.flatten(0, 1).detach()
    assert torch.allclose(losses["mixup"], paired_discrimination(patches, patches, 0.1), rtol=1e-3)


@pytest.mark.parametrize(("weight", "name"), [("mixup", "mixup"), ("regions", "regions"), ("entropy", "entropy")])
def test_weights_weigh(weight: str, name: str) -> None:
    images, found = batch(pictures(4, 1, 16, 16)), []
    for value in (1.0, 3.0):
        ld = method(**{weight: value})
        torch.manual_seed(1)
        found.append(ld.step(images, Clock(0, 1), PHASE).losses[name])
    assert torch.allclose(found[1], 3 * found[0])


def test_regions_can_be_told_apart_by_cross_entropy_alone() -> None:
    images, found = batch(pictures(4, 1, 16, 16)), []
    for joint in (True, False):
        torch.manual_seed(1)
        found.append(method(joint=joint).step(images, Clock(0, 1), PHASE).losses["regions"])
    assert found[0] > found[1]


def test_patches_that_show_no_image_are_neither_found_nor_told_apart() -> None:
    ld, images = method(mixup=0.0, **STILL), pictures(3, 1, 16, 16)
    ld.eval()
    valid = torch.ones(3, 16, 16, dtype=torch.bool)
    valid[:, :, 8:] = False
    other = images.clone()
    values = []
    for shown in (valid, torch.ones_like(valid)):
        torch.manual_seed(1)
        values.append(ld.step(Batch(unlabeled=other, valid=shown), Clock(0, 1), PHASE).losses)
    assert values[0]["patches"] < values[1]["patches"]
    assert ld.views.counted(valid).sum() == 3 * 8
    assert not torch.allclose(values[0]["regions"], values[1]["regions"])


def test_the_second_stage_goes_on_from_the_first_with_clusters_of_its_own() -> None:
    kind, task = METHODS.get("ld"), TASKS[2]
    stages = kind.stages(LDOptions())
    assert [(stage.name, round(stage.share, 3), stage.continues) for stage in stages] == [
        ("patches", 0.2, False),
        ("regions", 0.8, True),
    ]
    assert [stage.optimizer["every"] for stage in stages] == [0.5, 0.125]
    (_, first), (_, second) = staged("ld", 2)
    assert first.clustering is None
    Engine(first).train(make_batch(task, 0))
    second = stages[1].make(lambda: make("unet", task, {"features": 4, "depth": 2}), task, {})
    assert second.clustering is not None
    first = method(task=task)
    second = LocalDiscrimination(
        lambda: make("unet", task, {"features": 4, "depth": 2}), task, first.options, before=first.requires_grad_(False)
    )
    for mine, theirs in ((second.network, first.network), (second.embedding, first.embedding)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    assert sum(p.requires_grad for p in second.network.parameters()) > 10, "the first stage is frozen, not its copy"
    assert [stage.name for stage in kind.stages(LDOptions(warmup=1.0))] == ["patches"]
    (alone,) = kind.stages(LDOptions(warmup=0.0))
    assert (alone.name, alone.continues) == ("regions", False)


def test_vectors_and_clusters_of_every_voxel() -> None:
    ld = method()
    ld.eval()
    images = pictures(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(ld.embed(images).norm(dim=1), torch.ones(()), atol=1e-5)
        assert torch.allclose(ld.cluster(images).sum(1), torch.ones(()), atol=1e-5)


def test_training_brings_the_views_of_a_patch_together() -> None:
    ld = method(mixup=0.0, regions=0.0, entropy=0.0)
    engine = Engine(ld)
    engine.optimizers = [torch.optim.Adam([p for p in ld.parameters() if p.requires_grad], 1e-2)]
    texture = torch.nn.functional.interpolate(pictures(4, 1, 4, 4), scale_factor=4, mode="bicubic")
    results = engine.train(*[batch(texture)] * 20)
    first, last = results[0][0], results[-1][0]
    assert float(last.losses["patches"].detach()) < 0.8 * float(first.losses["patches"].detach())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grid": (8, 8, 8)}, "must be one number or 2"),
        ({"grid": (65,)}, "more patches than the crop 64x64 has voxels"),
        ({"mix": (0.9, 0.1)}, "least share first"),
        ({"grids": (4, 65)}, "method.grids=65 has more patches than the crop 64x64"),
    ],
)
def test_what_cannot_be_is_refused_before(options: dict[str, Any], said: str) -> None:
    setting = make_setting(Task(2, 1, 2, (64, 64), (1.0, 1.0)))
    problems = LocalDiscrimination.check(setting, LDOptions(**options))
    assert len(problems) == 1
    assert said in problems[0]
    alone = make_setting(setting.task, unlabeled_batch_size=1)
    assert "mixes" in LocalDiscrimination.check(alone, LDOptions())[0]
    assert LocalDiscrimination.check(alone, LDOptions(mixup=0.0)) == []


def test_every_step_takes_one_of_the_patch_numbers_by_lot_and_alike_in_every_process() -> None:
    task = Task(2, 1, 2, (24, 24))
    views = LocalViews(task, LocalViewOptions(grids=(2, 4, 6), **STILL))
    drawn = [views.drawn(step) for step in range(300)]
    assert set(drawn) == {(2, 2), (4, 4), (6, 6)}
    assert min(map(drawn.count, set(drawn))) > 70
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    assert [views.drawn(step) for step in range(300)] == drawn, "whatever was drawn before"
    assert torch.equal(torch.random.get_rng_state(), state)
    alone = LocalViews(task, LocalViewOptions(grid=(4,), **STILL))
    assert {alone.drawn(step) for step in range(20)} == {(4, 4)}


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_patches_of_every_size_are_means_written_out(sigma: float | None) -> None:
    views = LocalViews(Task(2, 1, 2, (24, 24)), LocalViewOptions(grids=(2, 4, 6), sigma=sigma, **STILL))
    maps = pictures(2, 5, 24, 24)
    for grid in views.grids:
        side = 24 // grid[0]
        offset = (torch.arange(side) - (side - 1) / 2) / (side / 2)
        profile = torch.exp(-(offset**2) / (2 * sigma**2)) if sigma else torch.ones(side)
        found = views.pool(maps, grid)
        for row, column in product(range(grid[0]), repeat=2):
            part = maps[..., row * side : (row + 1) * side, column * side : (column + 1) * side]
            total = (part * profile[:, None] * profile).sum((2, 3))
            assert torch.allclose(found[..., row, column], total / total.norm(dim=1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_center_sensitive_patches_of_a_turned_image_turned_back_are_those_of_the_image(ndim: int) -> None:
    task = Task(ndim, 1, 2, (12,) * ndim, (1.0,) * ndim)
    views = LocalViews(task, LocalViewOptions(grids=(2, 4, 5), sigma=0.5, **STILL))
    maps = pictures(1, 4, *[12] * ndim)
    for grid, turn in product(views.grids, views.allowed.tolist()):
        turns = OrientationParams(torch.tensor([turn]))
        back = views.turning.invert(views.pool(views.turning.image(maps, turns), grid), turns)
        assert torch.allclose(back, views.pool(maps, grid), atol=1e-5)


def test_a_step_compares_patches_of_the_size_that_it_drew() -> None:
    ld = method(grids=(2, 8), sigma=0.5, mixup=0.0, regions=0.0, entropy=0.0, turns=False, **STILL)
    ld.eval()
    images, values = pictures(2, 1, 16, 16), {}
    for step in range(8):
        grid = ld.views.drawn(step)
        loss = ld.step(batch(images), Clock(step, 8), PHASE).losses["patches"]
        values.setdefault(grid, set()).add(float(loss.detach()))
        rows = ld.views.pool(ld.embed(images), grid).flatten(2).mT.flatten(0, 1)
        assert float(paired_discrimination(rows, rows, 0.1)) == pytest.approx(values[grid].copy().pop(), rel=1e-3)
    assert sorted(map(len, values.values())) == [1, 1]
