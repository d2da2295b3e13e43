from __future__ import annotations

import pytest
import torch

from paucis.methods.parts.umix import block_grid, block_sources, rearranged, to_blocks


def naive(first: torch.Tensor, second: torch.Tensor, image: torch.Tensor, side: int, count: int) -> torch.Tensor:
    """Block by block on one 2D image, in the published order."""
    rows, columns = (size // side for size in image.shape)
    places = [(r, c) for r in range(rows) for c in range(columns)]

    def mean(uncertainty: torch.Tensor, place: tuple[int, int]) -> float:
        return float(cut(uncertainty, place).mean())

    def cut(values: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
        return values[place[0] * side : (place[0] + 1) * side, place[1] * side : (place[1] + 1) * side]

    ranked = [sorted(places, key=lambda place, u=u: mean(u, place)) for u in (first, second)]
    mixed = image.clone()
    for unsure, sure in ((ranked[0], ranked[1]), (ranked[1], ranked[0])):
        content = [cut(mixed, place).clone() for place in sure[:count]]
        for target, piece in zip(unsure[::-1][:count], content, strict=True):
            cut(mixed, target).copy_(piece)
    return mixed


@pytest.mark.parametrize("count", [3, 14])  # with 14 of 24, blocks are taken that were replaced before
def test_it_equals_the_exchange_block_by_block(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second, images = (torch.rand(3, 16, 24, generator=generator) for _ in range(3))
    sources = block_sources(first, second, (4, 6), count)
    mixed = rearranged(images, sources, (4, 6))
    for number in range(3):
        assert torch.equal(mixed[number], naive(first[number], second[number], images[number], 4, count))
    assert not torch.equal(mixed, images)


def test_images_labels_and_channels_move_together_in_3d_and_odd_ends_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2, 5, 9, 8), generator=generator)
    images = torch.stack([labels.float(), 10.0 + labels], 1)
    uncertainty = torch.rand(2, 2, 5, 9, 8, generator=generator)
    grid = (2, 4, 4)
    sources = block_sources(uncertainty[0], uncertainty[1], grid, 2)
    mixed, moved = rearranged(images, sources, grid), rearranged(labels, sources, grid)
    assert moved.dtype == torch.long
    assert torch.equal(mixed[:, 0], moved.float())
    assert torch.equal(mixed[:, 1], 10.0 + moved)
    assert torch.equal(moved[:, 4:], labels[:, 4:])
    assert torch.equal(moved[:, :, 8:], labels[:, :, 8:])
    assert 0 < float((moved != labels).float().mean()) < 4 * 2 / 32


def test_taking_every_block_from_itself_changes_nothing() -> None:
    images = torch.rand(2, 3, 7, 9)
    sources = torch.arange(6).repeat(2, 1)
    assert torch.equal(rearranged(images, sources, (2, 3)), images)
    assert to_blocks(images, (2, 3)).shape == (2, 3, 6, 9)


def test_blocks_with_padding_are_not_pasted_elsewhere() -> None:
    uncertainty = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) + 1.0
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    valid[:, :, 5:] = False  # would be the surest of all
    sources = block_sources(uncertainty, uncertainty.flip(1), (4, 4), 2, valid)
    moved = sources[0][sources[0] != torch.arange(16)]
    assert len(moved) > 0
    assert all(int(source) % 4 < 2 for source in moved)


@pytest.mark.parametrize(("spatial", "expected"), [((112, 112, 80), (8, 8, 8)), ((5, 100), (5, 8))])
def test_a_short_axis_has_fewer_blocks(spatial: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert block_grid(spatial, 8) == expected
