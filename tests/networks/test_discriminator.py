from __future__ import annotations

import pytest
import torch

from paucis.networks.discriminator import Discriminator


@pytest.mark.parametrize("size", [(32, 48), (5, 1), (16, 4, 6), (1, 9, 2)])
def test_maps_and_images_of_any_size_give_two_logits(size: tuple[int, ...]) -> None:
    judge = Discriminator(len(size), 3, 2, features=4)
    logits = judge(torch.rand(2, 3, *size), torch.rand(2, 2, *size))
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()


def test_the_published_layers_have_the_published_numbers_of_parameters() -> None:
    # convolutions of width 4 over maps and image, then 64-128-256-512, then linear over 2 x 2 cells (2D) or 1 (3D)
    def expected(taps: int, maps: int, images: int, cells: int) -> int:
        convolutions = [(maps, 64), (images, 64), (64, 128), (128, 256), (256, 512)]
        return sum(a * b * taps + b for a, b in convolutions) + (512 * cells + 1) * 2

    assert sum(p.numel() for p in Discriminator(2, 4, 1).parameters()) == expected(16, 4, 1, 4)
    assert sum(p.numel() for p in Discriminator(3, 1, 1).parameters()) == expected(64, 1, 1, 1)


def test_both_maps_and_images_matter_and_gradients_reach_the_maps() -> None:
    torch.manual_seed(0)
    judge = Discriminator(2, 2, 1, features=4).eval()
    maps, images = torch.rand(1, 2, 32, 32, requires_grad=True), torch.rand(1, 1, 32, 32)
    logits = judge(maps, images)
    assert not torch.allclose(logits, judge(maps, images + torch.rand(1, 1, 32, 32)))
    logits[0, 1].backward()
    assert maps.grad.abs().sum() > 0


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    judge = Discriminator(2, 2, 1, features=8)
    maps, images = torch.rand(1, 2, 32, 32), torch.rand(1, 1, 32, 32)
    assert not torch.equal(judge.train()(maps, images), judge(maps, images))
    assert torch.equal(judge.eval()(maps, images), judge(maps, images))
