"""Pictures of layers: what is seen, and what is let through."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from paucis.evaluation.pictures.layers import PIXELS, color_of, fill, glow, outline, photograph, size_of


def pixels(content: bytes) -> np.ndarray:
    """(Y, X, 4), of whatever was written."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGBA")).astype(int)


@pytest.fixture
def mask() -> np.ndarray:
    """Class 1 in a square, class 2 in another, and a corner that is not counted."""
    mask = np.zeros((32, 64), np.uint8)
    mask[8:24, 8:24] = 1
    mask[8:24, 40:56] = 2
    mask[:4, :4] = 255
    return mask


def test_sizes_keep_the_shape_of_a_pixel_and_the_longer_side() -> None:
    assert size_of(32, 64, 1.0) == (PIXELS // 2, PIXELS)
    assert size_of(32, 64, 4.0) == (PIXELS, PIXELS // 2)
    assert size_of(1, 5000, 0.1) == (1, PIXELS)


def test_a_mask_is_filled_in_the_colors_of_its_classes_and_lets_the_rest_through(mask: np.ndarray) -> None:
    seen = pixels(fill(mask, (160, 320)))
    assert seen.shape == (160, 320, 4)
    assert tuple(seen[80, 80, :3]) == color_of(1)
    assert tuple(seen[80, 240, :3]) == color_of(2)
    assert 0 < seen[80, 80, 3] < 200
    assert seen[80, 160, 3] == 0
    assert (seen[..., 3] > 0).mean() == pytest.approx((mask > 0).mean())


def test_an_outline_is_two_pixels_of_the_inner_border(mask: np.ndarray) -> None:
    seen = pixels(outline(mask, (160, 320)))[..., 3]
    row = seen[80] == 255
    assert np.flatnonzero(row).tolist() == [40, 41, 118, 119, 200, 201, 278, 279]
    assert 0 < seen[2, 2] < 255
    assert (pixels(outline(np.zeros_like(mask), (160, 320)))[..., 3] == 0).all()


def test_a_glow_grows_brighter_and_less_transparent_with_the_value() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(32, 0)
    values[0, 0] = np.nan
    seen = pixels(glow(values, (160, 320)))[80]
    assert seen[0, 3] == 0
    assert seen[-1, 3] > 200
    assert (np.diff(seen[:, 3]) >= 0).all()
    assert seen[-1, :3].sum() > seen[60, :3].sum()


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_photograph_keeps_its_grays_and_colors(channels: tuple[int, ...]) -> None:
    ramp = np.linspace(-0.1, 1.1, 64, dtype=np.float32)[None].repeat(32, 0)
    picture = ramp if not channels else np.stack([ramp, 1 - ramp, np.full_like(ramp, 0.5)], axis=-1)
    seen = pixels(photograph(picture, (160, 320)))[80, :, :3]
    assert seen[0, 0] < 12
    assert seen[-1, 0] > 243
    if channels:
        assert seen[0, 1] > 225
        assert seen[-1, 1] < 30


def test_many_classes_have_colors_of_their_own_as_far_as_these_reach() -> None:
    assert len({color_of(label) for label in range(1, 15)}) == 14
    assert color_of(15) == color_of(1)
