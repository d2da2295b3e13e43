from __future__ import annotations

import itertools

import pytest
import torch

from paucis.batch import IGNORE
from paucis.methods.parts.boundary import boundary_sets, near_boundary


def test_the_boundary_of_a_cube_is_its_surface_and_the_shell_around_it() -> None:
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    labels[0, 2:6, 2:6, 2:6] = 1  # a cube of 4 voxels: its inside is 2 wide
    near = near_boundary(labels)[0]
    inside, outside = near & labels[0].eq(1), near & labels[0].eq(0)
    assert int(inside.sum()) == 4**3 - 2**3
    assert int(outside.sum()) == 6**3 - 4**3
    assert not bool(near[3:5, 3:5, 3:5].any())
    assert bool(near[1, 1, 1])  # corners count
    assert not bool(near[0].any())
    assert torch.equal(near, near.flip(0))  # no side is preferred
    assert torch.equal(near, near.flip(1, 2))


def test_a_square_in_2d_and_a_larger_radius() -> None:
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[0, 4, 4] = 2
    assert int(near_boundary(labels).sum()) == 9
    assert int(near_boundary(labels, radius=2).sum()) == 25


def naive(labels: torch.Tensor, radius: int) -> torch.Tensor:
    near = torch.zeros_like(labels, dtype=torch.bool)
    for place in itertools.product(*(range(size) for size in labels.shape)):
        around = labels[tuple(slice(max(at - radius, 0), at + radius + 1) for at in place)]
        others = around.ne(IGNORE) & around.ne(labels[place])
        near[place] = labels[place] != IGNORE and bool(others.any())
    return near


@pytest.mark.parametrize("radius", [1, 2])
def test_several_classes_and_unknown_voxels_are_as_looked_up_one_by_one(radius: int) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 4, (2, 3, 2, 3), generator=generator)
    labels = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2).repeat_interleave(2, 3)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = IGNORE
    expected = torch.stack([naive(image, radius) for image in labels])
    assert torch.equal(near_boundary(labels, radius), expected)


def test_the_border_of_the_image_and_unknown_voxels_bound_nothing() -> None:
    assert not bool(near_boundary(torch.ones(1, 4, 4, dtype=torch.long)).any())
    half = torch.ones(1, 4, 4, dtype=torch.long)
    half[0, :2] = IGNORE
    assert not bool(near_boundary(half).any())


def test_sets_hold_at_most_so_many_voxels_each_once_and_images_without_boundary_none() -> None:
    labels = torch.zeros(3, 8, 8, dtype=torch.long)
    labels[0, 2:6, 2:6] = 1
    labels[2, 4, 4] = 1
    torch.manual_seed(0)
    sets = dict(boundary_sets(labels, 12))
    assert sorted(sets) == [0, 2]
    assert len(sets[0]) == 12
    assert len(set(sets[0].tolist())) == 12
    assert len(sets[2]) == 9
    near = near_boundary(labels).flatten(1)
    assert all(bool(near[index][places].all()) for index, places in sets.items())
    assert dict(boundary_sets(labels, 12))[0].tolist() != sets[0].tolist()  # drawn anew
