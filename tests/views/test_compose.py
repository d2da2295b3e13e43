from __future__ import annotations

import pytest
import torch

from paucis.views import Affine, Compose, Contrast, Elastic, Flip, Rotate90


@pytest.mark.parametrize("spatial", [(6, 6), (5, 6, 6)])
def test_a_chain_of_exact_views_is_exactly_invertible(spatial: tuple[int, ...]) -> None:
    view = Compose(Flip(range(len(spatial))), Rotate90((-2, -1)), Flip((0,)))
    params = view.sample(8, spatial, torch.Generator().manual_seed(0))
    images = torch.randn(8, 2, *spatial)
    moved = view.image(images, params)
    assert not torch.equal(moved, images)
    assert torch.equal(view.invert(moved, params), images)
    assert view.valid(params, spatial).all()


@pytest.mark.parametrize("order", ["affine first", "elastic first"])
def test_merged_warps_show_what_one_after_the_other_shows(order: str) -> None:
    affine, elastic = Affine(20.0, 0.1, 1.0), Elastic(0.25, distance=10.0)
    warps = [affine, elastic] if order == "affine first" else [elastic, affine]
    view = Compose(*warps)
    assert len(view.views) == 1
    params = view.sample(4, (40, 36), torch.Generator().manual_seed(0))
    axes = torch.meshgrid(torch.linspace(-2, 2, 40), torch.linspace(-2, 2, 36), indexing="ij")
    smooth = (axes[0].sin() + axes[1].cos()).expand(4, 1, 40, 36)
    merged, single = view.image(smooth, params), smooth
    for warp, part in zip(warps, params.parts[0].parts, strict=True):
        single = warp.image(single, part)
    middle = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert (merged - single)[middle].abs().max() < 0.01
    assert (merged - smooth)[middle].abs().max() > 0.1
    assert (view.invert(merged, params) - smooth)[middle].abs().max() < 0.05


def test_an_image_that_one_warp_leaves_alone_is_moved_by_the_other_only() -> None:
    affine, elastic = Affine(30.0, probability=0.5), Elastic(0.3, probability=0.5)
    view = Compose(affine, elastic)
    params = view.sample(24, (24, 24), torch.Generator().manual_seed(0))
    first, second = params.parts[0].parts
    images = torch.randn(24, 1, 24, 24)
    moved = view.image(images, params)
    for one, two, expected in [
        (True, False, affine.image(images, first)),
        (False, True, elastic.image(images, second)),
        (False, False, images),
    ]:
        chosen = (first.applied == one) & (second.applied == two)
        assert chosen.any()
        assert torch.allclose(moved[chosen], expected[chosen], atol=1e-4)


def test_together_gives_what_each_gives_alone() -> None:
    view = Compose(Flip((0, 1)), Affine(20.0), Elastic(), Contrast(0.5))
    params = view.sample(5, (20, 24), torch.Generator().manual_seed(0))
    images, more = torch.randn(5, 2, 20, 24), torch.rand(5, 1, 20, 24)
    labels = torch.randint(0, 3, (5, 20, 24))
    moved, (moved_labels,) = view.together([images, more], [labels], params)
    assert torch.equal(moved[0], view.image(images, params))
    assert torch.equal(moved[1], view.image(more, params))
    assert torch.equal(moved_labels, view.labels(labels, params))


def test_what_left_the_image_stays_invalid_further_down_the_chain() -> None:
    view = Compose(Affine(0.0, translation=6.0), Flip((0, 1), 1.0))
    params = view.sample(4, (20, 20), torch.Generator().manual_seed(0))
    valid = view.valid(params, (20, 20))
    shift = params.parts[0].shift
    for mask, (down, right) in zip(valid, shift.tolist(), strict=True):
        mask = mask.flip((0, 1))
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert (int(rows.min()) > 0) == (down > 0.5)
        assert (int(columns.max()) < 19) == (right < -0.5)
    assert not valid.all()


def test_sizes_that_a_turn_swaps_reach_the_next_view() -> None:
    view = Compose(Rotate90((0, 1), swap=True), Elastic(0.2, distance=5.0))
    for seed in range(6):
        params = view.sample(3, (12, 20), torch.Generator().manual_seed(seed))
        images = torch.randn(3, 1, 12, 20)
        moved = view.image(images, params)
        assert moved.shape[2:] == view.size(params, (12, 20))
        assert view.invert(moved, params).shape == images.shape
