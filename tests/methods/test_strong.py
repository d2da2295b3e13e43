from __future__ import annotations

import torch

from engine import TASKS
from paucis.methods.parts.strong import StrongOptions, StrongView


def test_the_strong_view_changes_intensities_and_leaves_geometry() -> None:
    image = torch.zeros(4, 1, 32, 24)
    image[:, :, 8:20, 5:15] = 1.0
    torch.manual_seed(0)
    view = StrongView(TASKS[2], StrongOptions(jitter_probability=1.0, blur_probability=1.0))(image)
    assert all(not torch.equal(one, other) for one, other in zip(view, image, strict=True))
    for one in view[:, 0]:  # the bright rectangle stays where it was
        bright = one > (one.min() + one.max()) / 2
        assert (bright == (image[0, 0] > 0.5)).float().mean() > 0.9


def test_two_calls_draw_two_views_and_one_seed_draws_one() -> None:
    view, images = StrongView(TASKS[3], StrongOptions()), torch.randn(3, 1, 16, 8, 12)
    torch.manual_seed(3)
    one, other = view(images), view(images)
    torch.manual_seed(3)
    assert torch.equal(view(images), one)
    assert not torch.allclose(one, other)


def test_strength_zero_is_the_image_itself() -> None:
    images = torch.randn(2, 1, 32, 24)
    assert torch.equal(StrongView(TASKS[2], StrongOptions(jitter=0.0, blur=0.0))(images), images)
