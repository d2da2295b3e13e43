from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from paucis.views.orientations import OrientationParams, Orientations


def params(*turns: int) -> OrientationParams:
    return OrientationParams(torch.tensor(turns))


@pytest.mark.parametrize(("ndim", "plane"), [(2, (-2, -1)), (3, (-2, -1)), (3, (0, 2)), (2, None)])
def test_turn_k_of_a_plane_is_k_quarter_turns(ndim: int, plane: tuple[int, int] | None) -> None:
    view, images = Orientations(ndim, plane), torch.randn(4, 2, *[6] * ndim)
    labels = torch.randint(9, (4, *[6] * ndim))
    axes = [axis % ndim for axis in (plane or (0, 1))]
    turned, moved = view.image(images, params(0, 1, 2, 3)), view.labels(labels, params(0, 1, 2, 3))
    for k in range(4):
        if plane is not None:
            assert torch.equal(turned[k], torch.rot90(images[k], k, [axis + 1 for axis in axes]))
            assert torch.equal(moved[k], torch.rot90(labels[k], k, axes))
    assert len(view) == 4


def test_space_has_24_different_turns_that_are_closed_and_mirror_nothing() -> None:
    view, cube = Orientations(3, None), torch.arange(27).reshape(1, 1, 3, 3, 3)
    turned = {tuple(view.image(cube, params(k)).flatten().tolist()) for k in range(len(view))}
    assert len(turned) == len(view) == 24
    twice = {
        tuple(view.image(view.image(cube, params(a)), params(b)).flatten().tolist())
        for a in range(24)
        for b in range(24)
    }
    assert twice == turned
    assert tuple(cube.flip(2).flatten().tolist()) not in turned
    assert torch.equal(view.image(cube, params(0)), cube)


@pytest.mark.parametrize("view", [Orientations(2), Orientations(3), Orientations(3, None)])
def test_inverting_gives_the_image_back(view: Orientations) -> None:
    ndim = len(view.turns[0].order)
    images = torch.randn(len(view), 1, *[4] * ndim)
    every = params(*range(len(view)))
    assert torch.equal(view.invert(view.image(images, every), every), images)
    one = torch.randn(1, 1, *range(2, 2 + ndim))
    for k in range(len(view)):
        turned = view.image(one, params(k))
        assert tuple(turned.shape[2:]) == view.size(params(k), one.shape[2:])
        assert torch.equal(view.invert(turned, params(k)), one)


@pytest.mark.parametrize(
    ("view", "sizes", "expected"),
    [
        (Orientations(2), (8, 8), {0, 1, 2, 3}),
        (Orientations(2), (8, 6), {0, 2}),
        (Orientations(3), (4, 8, 8), {0, 1, 2, 3}),
        (Orientations(3, None), (4, 4, 4), set(range(24))),
    ],
)
def test_all_turns_that_keep_the_size_are_drawn(view: Orientations, sizes: Sequence[int], expected: set[int]) -> None:
    drawn = view.sample(500, sizes, torch.Generator().manual_seed(0))
    assert set(drawn.turns.tolist()) == expected
    view.image(torch.zeros(500, 1, *sizes), drawn)


def test_images_of_unequal_sides_turn_alike_or_not_at_all() -> None:
    view = Orientations(2)
    assert view.image(torch.zeros(2, 1, 4, 6), params(1, 1)).shape == (2, 1, 6, 4)
    with pytest.raises(ValueError, match="different sizes"):
        view.image(torch.zeros(2, 1, 4, 6), params(0, 1))


def test_turned_images_keep_their_order_in_memory() -> None:
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    turned = Orientations(2).image(images, params(0, 1, 2, 3))
    assert turned.is_contiguous(memory_format=torch.channels_last)
