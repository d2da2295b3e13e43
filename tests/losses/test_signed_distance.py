from __future__ import annotations

import itertools
import math

import pytest
import torch

from paucis.batch import IGNORE
from paucis.losses import signed_distance as module
from paucis.losses.signed_distance import distance_loss, distance_to, signed_distance


def naive(labels: torch.Tensor, number: int) -> torch.Tensor:
    """Distances voxel by voxel, over all pairs; the boundary from the neighbours across faces."""
    shape = labels.shape
    places = list(itertools.product(*(range(size) for size in shape)))
    inside = [place for place in places if int(labels[place]) == number]
    outside = [place for place in places if int(labels[place]) not in (number, IGNORE)]
    depth = {a: min(math.dist(a, b) for b in outside) for a in inside}
    height = {a: min(math.dist(a, b) for b in inside) for a in outside}
    result = torch.zeros(shape)
    for place, distance in height.items():
        result[place] = distance / max(height.values())
    for place, distance in depth.items():
        neighbours = [
            tuple(v + step * (axis == other) for other, v in enumerate(place))
            for axis in range(len(shape))
            for step in (-1, 1)
        ]
        boundary = any(neighbour in height for neighbour in neighbours)
        result[place] = 0.0 if boundary else -distance / max(depth.values())
    return result


@pytest.mark.parametrize("shape", [(9, 7), (6, 4, 5)])
def test_it_equals_the_loop_over_all_pairs_for_every_class(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros((2, *shape), dtype=torch.long)
    labels[:, 1:6, 1:4] = 1
    labels[:, :2, -3:] = 2
    labels[1] = torch.where(torch.rand(shape, generator=generator) < 0.3, 2, labels[1])
    labels[0, -1] = IGNORE
    maps = signed_distance(labels, 3)
    assert maps.shape == (2, 2, *shape)
    assert maps.dtype == torch.float32
    for image, number in itertools.product(range(2), (1, 2)):
        assert torch.allclose(maps[image, number - 1], naive(labels[image], number), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 17, 11), (1, 2, 9, 4, 12)])
def test_distances_axis_by_axis_are_those_of_scipy(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 1000)  # several parts
    targets = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.05
    targets[0, 0] = False
    distances = module._axis_by_axis(targets)
    assert torch.allclose(distances, distance_to(targets))
    assert torch.isinf(distances[0, 0]).all()
    assert torch.equal(distances == 0, targets)


def test_by_hand_on_a_line() -> None:
    labels = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 0]])
    expected = [1.0, 0.5, 0.0, -2 / 3, -1.0, -2 / 3, 0.0, 0.5]
    assert signed_distance(labels, 2)[0, 0].tolist() == pytest.approx(expected)


def test_unknown_voxels_end_no_object_and_count_nothing() -> None:
    labels = torch.tensor([[0, 1, 1, 1, IGNORE, IGNORE]])
    assert signed_distance(labels, 2)[0, 0].tolist() == pytest.approx([1.0, 0.0, -2 / 3, -1.0, 0.0, 0.0])
    maps = torch.zeros(1, 1, 6)
    loss = distance_loss(maps, labels)
    maps[..., 4:] = 100.0
    assert torch.equal(loss, distance_loss(maps, labels))
    assert float(loss) == pytest.approx((1 + 0 + 4 / 9 + 1) / 4)


@pytest.mark.parametrize(("absent", "outside", "inside"), [("far", 1.0, -1.0), ("zero", 0.0, 0.0)])
def test_a_class_that_fills_none_or_all_of_a_crop_has_a_flat_map(absent: str, outside: float, inside: float) -> None:
    labels = torch.ones((1, 4, 4), dtype=torch.long)
    maps = signed_distance(labels, 3, absent=absent)
    assert torch.equal(maps[0, 0], torch.full((4, 4), inside))
    assert torch.equal(maps[0, 1], torch.full((4, 4), outside))
    unknown = signed_distance(torch.full((1, 4, 4), IGNORE), 3, absent=absent)
    assert torch.equal(unknown, torch.zeros(1, 2, 4, 4))


def test_maps_lie_between_minus_one_and_one_and_a_single_voxel_is_its_own_boundary() -> None:
    labels = torch.zeros((1, 5, 5, 5), dtype=torch.long)
    labels[0, 2, 2, 2] = 1
    maps = signed_distance(labels, 2)
    assert float(maps.max()) == 1.0
    assert float(maps.min()) == 0.0
    assert float(maps[0, 0, 2, 2, 2]) == 0.0


def test_the_loss_pulls_the_prediction_alone_and_is_zero_at_the_target() -> None:
    labels = torch.zeros((2, 6, 6), dtype=torch.long)
    labels[:, 1:5, 2:5] = 1
    target = signed_distance(labels, 2)
    assert float(distance_loss(target, labels)) == 0.0
    maps = torch.zeros_like(target, requires_grad=True)
    distance_loss(maps, labels).backward()
    assert torch.allclose(maps.grad, -2 * target / target.numel())
    with torch.autocast("cpu", torch.bfloat16):
        assert distance_loss(maps.bfloat16(), labels).dtype == torch.float32
