from __future__ import annotations

import pytest
import torch

from paucis.views import Flip


@pytest.mark.parametrize("spatial", [(6, 5), (4, 6, 5)])
def test_inversion_is_exact_and_everything_is_valid(spatial: tuple[int, ...]) -> None:
    view = Flip(range(len(spatial)))
    params = view.sample(9, spatial, torch.Generator().manual_seed(1))
    images = torch.randn(9, 2, *spatial)
    assert not torch.equal(view.image(images, params), images)
    assert torch.equal(view.invert(view.image(images, params), params), images)
    assert view.valid(params, spatial).all()


def test_each_image_is_mirrored_along_its_own_axes() -> None:
    view = Flip((0, 2))
    params = view.sample(40, (3, 4, 5), torch.Generator().manual_seed(0))
    images = torch.randn(40, 1, 3, 4, 5)
    moved = view.image(images, params)
    for image, result, mirrored in zip(images, moved, params.mirrored.tolist(), strict=True):
        dims = [axis + 1 for axis in range(3) if mirrored[axis]]
        assert torch.equal(result, image.flip(dims))
    assert not params.mirrored[:, 1].any()
    assert len(params.mirrored.unique(dim=0)) == 4


def test_labels_follow_their_image() -> None:
    view = Flip((0, 1))
    params = view.sample(8, (6, 5), torch.Generator().manual_seed(3))
    labels = torch.randint(0, 4, (8, 6, 5))
    assert torch.equal(view.labels(labels, params), view.image(labels.unsqueeze(1), params).squeeze(1))


def test_probability_is_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    share = Flip((0,), 0.2).sample(4000, (4, 4), generator).mirrored[:, 0].float().mean()
    assert float(share) == pytest.approx(0.2, abs=0.03)
    assert not Flip((0,), 0.0).sample(100, (4, 4), generator).mirrored.any()
