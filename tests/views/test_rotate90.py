from __future__ import annotations

import pytest
import torch

from paucis.views import Rotate90
from paucis.views.rotate90 import Rotate90Params


@pytest.mark.parametrize(("spatial", "plane"), [((6, 6), (0, 1)), ((5, 6, 6), (1, 2)), ((6, 5, 6), (0, 2))])
def test_each_image_takes_its_own_turns_and_comes_back_exactly(
    spatial: tuple[int, ...], plane: tuple[int, int]
) -> None:
    view = Rotate90(plane)
    params = view.sample(16, spatial, torch.Generator().manual_seed(0))
    assert set(params.turns.tolist()) == {0, 1, 2, 3}
    images = torch.randn(16, 2, *spatial)
    moved = view.image(images, params)
    for image, result, turns in zip(images, moved, params.turns.tolist(), strict=True):
        assert torch.equal(result, torch.rot90(image, turns, [axis + 1 for axis in plane]))
    assert torch.equal(view.invert(moved, params), images)
    assert view.valid(params, spatial).all()


def test_labels_follow_their_image() -> None:
    view = Rotate90((-2, -1))
    params = view.sample(8, (3, 5, 5), torch.Generator().manual_seed(3))
    labels = torch.randint(0, 4, (8, 3, 5, 5))
    assert torch.equal(view.labels(labels, params), view.image(labels.unsqueeze(1), params).squeeze(1))


def test_a_plane_of_unequal_sizes_is_turned_by_half_turns_only() -> None:
    view = Rotate90((0, 1))
    params = view.sample(50, (6, 4), torch.Generator().manual_seed(0))
    assert set(params.turns.tolist()) == {0, 2}
    images = torch.randn(50, 1, 6, 4)
    assert view.image(images, params).shape == images.shape
    assert torch.equal(view.invert(view.image(images, params), params), images)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_sizes_are_swapped_where_asked(turns: int) -> None:
    view = Rotate90((1, 2), swap=True)
    params = Rotate90Params(torch.full((3,), turns))
    images = torch.randn(3, 2, 4, 7, 5)
    moved = view.image(images, params)
    assert torch.equal(moved, torch.rot90(images, turns, (3, 4)))
    assert moved.shape[2:] == view.size(params, (4, 7, 5))
    assert torch.equal(view.invert(moved, params), images)
    assert view.valid(params, (4, 7, 5)).shape == (3, *moved.shape[2:])


def test_a_batch_that_swaps_takes_one_turn() -> None:
    view = Rotate90((0, 1), swap=True)
    drawn = [view.sample(6, (7, 5), torch.Generator().manual_seed(seed)).turns for seed in range(20)]
    assert all(len(turns.unique()) == 1 for turns in drawn)
    assert {int(turns[0]) for turns in drawn} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="different sizes"):
        view.image(torch.zeros(2, 1, 7, 5), Rotate90Params(torch.tensor([0, 1])))
