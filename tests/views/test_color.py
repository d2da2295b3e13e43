from __future__ import annotations

import torch

from paucis.views import Gray, Saturation


def pictures() -> torch.Tensor:
    return torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0))


def test_saturation_keeps_the_mean_of_the_channels_and_stretches_what_differs_from_it() -> None:
    images, view = pictures(), Saturation(0.5)
    params = view.sample(6, (5, 4), torch.Generator().manual_seed(1))
    changed = view.image(images, params)
    gray = images.mean(1, keepdim=True)
    assert torch.allclose(changed.mean(1, keepdim=True), gray, atol=1e-6)
    assert torch.allclose(changed - gray, (images - gray) * params.amount.reshape(-1, 1, 1, 1), atol=1e-6)
    assert params.amount.min() >= 1 / 1.5
    assert params.amount.max() <= 1.5
    assert params.amount.unique().numel() == 6


def test_gray_makes_the_channels_equal_and_one_channel_stays_as_it_is() -> None:
    images, view = pictures(), Gray(1.0, 0.5)
    params = view.sample(6, (5, 4), torch.Generator().manual_seed(1))
    changed = view.image(images, params)
    assert 0 < int(params.applied.sum()) < 6
    assert torch.equal(changed[~params.applied], images[~params.applied])
    for channel in range(3):
        assert torch.allclose(changed[params.applied][:, channel], images[params.applied].mean(1), atol=1e-6)
    for either in (Gray(1.0), Saturation(0.5)):
        one = images[:, :1]
        assert torch.allclose(either.image(one, either.sample(6, (5, 4), torch.Generator())), one, atol=1e-6)
