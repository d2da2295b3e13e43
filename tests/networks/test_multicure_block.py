from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from paucis.networks import DeformableConv, MultiCUREBlock, MultiLevelEmbedding
from paucis.networks.base import Site
from paucis.networks.multicure_block import shrunk

SIZES = {2: (6, 8), 3: (4, 6, 8)}
every_dimension = pytest.mark.parametrize("dims", [2, 3])


def block(dims: int, channels: int = 6, **options: object) -> MultiCUREBlock:
    torch.manual_seed(0)
    return MultiCUREBlock(dims, channels, **options)  # type: ignore[arg-type]


def features(dims: int, count: int = 2, channels: int = 6) -> Tensor:
    return torch.randn(count, channels, *SIZES[dims], generator=torch.Generator().manual_seed(1))


def test_it_has_the_parameters_of_the_published_code() -> None:
    assert sum(parameter.numel() for parameter in block(3, 32).parameters()) == 108_849


@every_dimension
def test_no_doubt_anywhere_is_the_same_as_no_map(dims: int) -> None:
    part, image = block(dims), features(dims)
    without = part(image)
    with part.guided_by(torch.zeros(2, *[2 * size for size in SIZES[dims]])):
        assert torch.equal(part(image), without)
    doubts = torch.zeros(2, *[2 * size for size in SIZES[dims]])
    doubts[1, 2:4] = 1
    with part.eval().guided_by(doubts):
        guided = part(image)
    assert part.uncertainty is None
    plain = part(image)
    assert torch.equal(guided[0], plain[0])
    assert not torch.equal(guided[1], plain[1])


@every_dimension
def test_the_map_raises_the_deformable_branch_alone_where_it_is_uncertain(dims: int) -> None:
    part, image = block(dims).eval(), features(dims)
    doubts = torch.zeros(2, *[2 * size for size in SIZES[dims]])
    doubts[0, 5] = 1
    plain = part.branches(image)
    with part.guided_by(doubts):
        guided = part.branches(image)
    assert torch.equal(plain[0], guided[0])
    assert torch.equal(plain[1], guided[1])
    raised = torch.zeros_like(plain[2])
    raised[0, :, 2:4] = 1  # row 5 of the images touches rows 2 and 3 of the map
    torch.testing.assert_close(guided[2] - plain[2], raised)


@every_dimension
def test_it_gives_the_branches_in_shares_that_sum_to_one_for_every_channel(dims: int) -> None:
    part, image = block(dims).eval(), features(dims)
    branches = part.branches(image)
    shares = part.attention(branches)
    assert shares.shape == (3, 2, 6)
    torch.testing.assert_close(shares.sum(0), torch.ones(2, 6))
    assert not torch.allclose(shares[0], shares[1], atol=1e-3)
    result = part(image)
    for image_number in range(2):
        for channel in range(6):
            mixed = sum(shares[b, image_number, channel] * branches[b][image_number, channel] for b in range(3))
            torch.testing.assert_close(result[image_number, channel], mixed)


@every_dimension
def test_averaging_before_reducing_is_reducing_before_averaging(dims: int) -> None:
    part, image = block(dims).eval(), features(dims)
    branches = part.branches(image)
    pooled = part.join(torch.cat(branches, 1)).flatten(2).mean(2)
    expected = torch.stack([layer(part.squeeze(pooled)) for layer in part.weigh]).softmax(0)
    torch.testing.assert_close(part.attention(branches), expected)


@every_dimension
def test_its_offsets_are_zero_after_all_initialization(dims: int) -> None:
    (deformable,) = (part for part in block(dims).modules() if isinstance(part, DeformableConv))
    assert not deformable.offset.weight.any()
    assert not deformable.offset.bias.any()


def test_one_image_trains_unless_the_published_normalization_is_asked_for() -> None:
    image = features(2, count=1)
    block(2).train()(image).sum().backward()
    with pytest.raises(ValueError, match="more than 1 value"):
        block(2, squeeze="batch").train()(image)


def test_a_map_of_another_batch_or_size_is_an_error() -> None:
    for shape in ((3, 12, 16), (2, 3, 8), (2, 13, 16)):
        part = block(2)
        with pytest.raises(ValueError, match="uncertainty map"), part.guided_by(torch.zeros(shape)):
            part(features(2))
        assert part.uncertainty is None


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_coarser_map_forgets_no_uncertain_voxel(factor: int) -> None:
    for place in range(3 * factor):
        fine = torch.zeros(1, 3 * factor, factor)
        fine[0, place] = 1
        coarse = shrunk(fine, 1, (3, 1))
        assert coarse.shape == (1, 1, 3, 1)
        assert coarse[0, 0, place // factor, 0] == 1


@every_dimension
def test_the_embedding_is_a_convolution_of_all_maps_at_full_size(dims: int) -> None:
    sites = [Site(5, (4,) * dims), Site(3, (2,) * dims), Site(2, (1,) * dims)]
    torch.manual_seed(0)
    embedding = MultiLevelEmbedding(dims, sites, 4)
    maps = [torch.randn(2, site.channels, *[8 // s for s in site.stride]) for site in sites]
    full = torch.cat([nn.functional.interpolate(each, size=(8,) * dims, mode="nearest") for each in maps], 1)
    torch.testing.assert_close(embedding(maps, (8,) * dims), embedding.mix(full), atol=1e-5, rtol=1e-5)
