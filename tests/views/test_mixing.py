from __future__ import annotations

import pytest
import torch

from paucis.views.mixing import copy_paste_box, cutmix_boxes, halves, partners, paste


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def extents(boxes: torch.Tensor) -> torch.Tensor:
    """Length of each box along each axis, having checked that it is a box."""
    lengths = []
    for box in boxes:
        places = box.nonzero()
        length = places.amax(0) - places.amin(0) + 1
        assert int(length.prod()) == len(places)
        lengths.append(length)
    return torch.stack(lengths)


@pytest.mark.parametrize("spatial", [(64, 48), (40, 16, 24)])
def test_boxes_take_their_share_of_the_image_and_lie_within_it(spatial: tuple[int, ...]) -> None:
    boxes = cutmix_boxes(200, spatial, generator(), 1.0, (0.1, 0.3))
    lengths = extents(boxes)
    shares = boxes.flatten(1).float().mean(1)
    assert 0.07 < float(shares.min()) < 0.13
    assert 0.25 < float(shares.max()) < 0.35
    assert float(shares.mean()) == pytest.approx(0.2, abs=0.02)
    assert (lengths <= torch.tensor(spatial)).all()
    # every voxel is in some box, corners included
    assert boxes.any(0).float().mean() > 0.98


def test_boxes_are_stretched_along_any_axis_within_the_given_factors() -> None:
    lengths = extents(cutmix_boxes(300, (200, 200), generator(), 1.0, (0.05, 0.05))).double()
    ratio = lengths[:, 0] / lengths[:, 1]
    assert 0.28 < float(ratio.min()) < 0.4
    assert 2.5 < float(ratio.max()) < 3.6
    square = extents(cutmix_boxes(50, (200, 200), generator(), 1.0, (0.25, 0.25), (1.0, 1.0)))
    assert (square == 100).all()


def test_a_share_of_the_whole_image_is_the_whole_image() -> None:
    assert cutmix_boxes(3, (8, 6, 4), generator(), 1.0, (1.0, 1.0)).all()


def test_boxes_come_with_their_probability_and_from_the_generator_alone() -> None:
    assert not cutmix_boxes(20, (16, 16), generator(), 0.0).any()
    some = cutmix_boxes(400, (16, 16), generator(1), 0.5).flatten(1).any(1).float().mean()
    assert 0.4 < float(some) < 0.6
    first, again = (cutmix_boxes(9, (16, 12), generator(2)) for _ in range(2))
    assert torch.equal(first, again)
    # as many numbers are drawn whatever their outcome
    left, right = generator(3), generator(3)
    cutmix_boxes(4, (16, 16), left, 0.0)
    cutmix_boxes(4, (16, 16), right, 1.0)
    assert torch.equal(torch.rand(3, generator=left), torch.rand(3, generator=right))


@pytest.mark.parametrize(
    ("spatial", "expected"),
    [((112, 112, 80), (74, 74, 53)), ((256, 256), (170, 170)), ((96, 96, 96), (64, 64, 64)), ((1, 6), (1, 4))],
)
def test_the_copy_paste_box_has_the_published_size(spatial: tuple[int, ...], expected: tuple[int, ...]) -> None:
    box = copy_paste_box(spatial, generator())
    assert box.shape == (1, *spatial)
    assert tuple(extents(box)[0].tolist()) == expected


def test_the_copy_paste_box_lies_anywhere() -> None:
    boxes = torch.cat([copy_paste_box((12, 9), generator(seed)) for seed in range(60)])
    assert boxes.any(0).all()
    assert len(torch.unique(boxes, dim=0)) > 10


def test_paste_takes_the_box_from_one_and_the_rest_from_the_other() -> None:
    box = torch.zeros(1, 4, 4, dtype=torch.bool)
    box[:, 1:3, 2:] = True
    images = paste(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), box)
    assert torch.equal(images, box.unsqueeze(1).expand(2, 3, 4, 4).float())
    labels = paste(torch.full((2, 4, 4), 7), torch.full((2, 4, 4), 5), box)
    assert torch.equal(labels, torch.where(box, 7, 5).expand(2, 4, 4))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_partners_are_others_each_once(count: int) -> None:
    for seed in range(20):
        partner = partners(count, generator(seed))
        assert sorted(partner.tolist()) == list(range(count))
        assert (partner != torch.arange(count)).all()
    assert partners(1, generator()).tolist() == [0]


def test_halves_pair_a_batch() -> None:
    assert [half.tolist() for half in halves(4)] == [[0, 1], [2, 3]]
    assert [half.tolist() for half in halves(3)] == [[0, 1], [1, 2]]
    assert [half.tolist() for half in halves(1)] == [[0], [0]]
    assert [half.tolist() for half in halves(4, 3)] == [[0, 1, 0], [2, 3, 2]]
