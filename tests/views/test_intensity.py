from __future__ import annotations

import pytest
import torch

from paucis.views import BiasField, Blur, Brightness, Contrast, Gamma, LowResolution, Noise
from paucis.views.intensity import Intensity, IntensityParams

EVERY = [BiasField(0.3), Blur(1.5), Brightness(0.3), Contrast(0.4), Gamma(0.5), LowResolution(0.6), Noise(0.2)]


def at(amount: float, batch: int = 1, seed: int = 0) -> IntensityParams:
    return IntensityParams(
        torch.ones(batch, dtype=torch.bool), torch.full((batch,), amount), torch.arange(batch) + seed
    )


def smooth(*spatial: int, batch: int = 1, channels: int = 1) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.linspace(-3, 3, size) for size in spatial], indexing="ij")
    return torch.stack(axes).sin().sum(0).expand(batch, channels, *spatial).clone()


@pytest.mark.parametrize("view", EVERY, ids=lambda view: type(view).__name__)
@pytest.mark.parametrize("spatial", [(20, 24), (12, 10, 14), (1, 12, 12)])
def test_images_change_each_its_own_way_and_geometry_does_not(view: Intensity, spatial: tuple[int, ...]) -> None:
    params = view.sample(4, spatial, torch.Generator().manual_seed(0))
    one = torch.randn(1, 2, *spatial, generator=torch.Generator().manual_seed(1)) + smooth(*spatial)
    images = one.expand(4, -1, *one.shape[2:])
    changed = view.image(images, params)
    assert torch.isfinite(changed).all()
    assert changed.shape == images.shape
    assert not torch.allclose(changed[0], changed[1])
    assert not torch.allclose(changed, images)
    labels = torch.randint(0, 3, (4, *spatial))
    assert torch.equal(view.labels(labels, params), labels)
    assert torch.equal(view.invert(changed, params), changed)
    assert view.valid(params, spatial).all()
    assert torch.equal(view.image(images, params), changed)


@pytest.mark.parametrize("kind", [BiasField, Blur, Brightness, Contrast, Gamma, LowResolution, Noise])
def test_images_not_drawn_and_strength_zero_leave_all_as_it_is(kind: type[Intensity]) -> None:
    images = torch.randn(8, 1, 10, 10)
    view = kind(0.3, 0.5)
    params = view.sample(8, (10, 10), torch.Generator().manual_seed(0))
    assert 0 < int(params.applied.sum()) < 8
    assert torch.equal(view.image(images, params)[~params.applied], images[~params.applied])
    none = kind(0.0, 1.0)
    assert none.image(images, none.sample(8, (10, 10), torch.Generator().manual_seed(0))) is images


@pytest.mark.parametrize("view", EVERY, ids=lambda view: type(view).__name__)
def test_a_constant_image_stays_finite(view: Intensity) -> None:
    params = view.sample(2, (8, 8), torch.Generator().manual_seed(0))
    assert torch.isfinite(view.image(torch.zeros(2, 1, 8, 8), params)).all()


def test_noise_has_the_deviation_asked_for() -> None:
    images = 50.0 * torch.randn(1, 1, 64, 64)
    noise = Noise(0.5).image(images, at(0.1)) - images
    assert float(noise.std() / images.std()) == pytest.approx(0.1, rel=0.05)
    assert abs(float(noise.mean() / noise.std())) < 0.05


def test_blur_is_the_gaussian_and_keeps_the_mean() -> None:
    spot = torch.zeros(1, 1, 31, 31)
    spot[0, 0, 15, 15] = 1
    blurred = Blur(2.0).image(spot, at(1.5))[0, 0]
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-4)
    weights = (-0.5 * ((torch.arange(31) - 15) / 1.5) ** 2).exp()
    assert torch.allclose(blurred, torch.outer(weights, weights) / weights.sum() ** 2, atol=1e-5)


def test_blur_is_as_wide_in_mm_along_every_axis() -> None:
    spot = torch.zeros(1, 1, 15, 31, 31)
    spot[0, 0, 7, 15, 15] = 1
    blurred = Blur(2.0, spacing=(2.0, 1.0, 1.0)).image(spot, at(2.0))[0, 0]
    squares = [(torch.arange(size) - size // 2) ** 2 for size in blurred.shape]
    lines = [blurred.sum((1, 2)), blurred.sum((0, 2)), blurred.sum((0, 1))]
    variances = [float(line @ square.float()) for line, square in zip(lines, squares, strict=True)]
    assert variances == pytest.approx([1.0, 4.0, 4.0], rel=0.05)


def test_brightness_and_contrast_in_closed_form() -> None:
    images = torch.randn(1, 2, 16, 16) * 3 + 5
    brighter = Brightness(0.5).image(images, at(0.2))
    deviation = images.std((2, 3), correction=0, keepdim=True)
    assert torch.allclose(brighter - images, (0.2 * deviation).expand_as(images), atol=1e-5)
    stretched = Contrast(0.5).image(images, at(1.4))
    assert torch.allclose(stretched.mean((2, 3)), images.mean((2, 3)), atol=1e-4)
    assert torch.allclose(stretched.std((2, 3)), 1.4 * images.std((2, 3)), rtol=1e-4)


def test_gamma_bends_and_keeps_order_mean_and_deviation() -> None:
    images = torch.rand(1, 1, 24, 24) * 7 - 2
    bent = Gamma(1.0).image(images, at(1.8))
    order = images.flatten().argsort()
    assert (bent.flatten()[order].diff() >= -1e-5).all()
    assert float(bent.mean()) == pytest.approx(float(images.mean()), abs=1e-4)
    assert float(bent.std()) == pytest.approx(float(images.std()), rel=1e-3)
    assert torch.allclose(Gamma(1.0).image(images, at(1.0)), images, atol=1e-4)


def test_low_resolution_takes_detail_and_leaves_the_rest() -> None:
    view = LowResolution(0.6)
    checkers = torch.tensor([1.0, -1.0]).repeat(10).reshape(1, 1, 1, 20) * torch.ones(1, 1, 20, 1)
    assert view.image(checkers, at(0.5)).abs().max() < 1e-5
    flat = torch.full((1, 1, 20, 20), 3.0)
    assert torch.allclose(view.image(flat, at(0.5)), flat)
    gentle = smooth(20, 20)
    assert (view.image(gentle, at(0.7)) - gentle).abs().mean() < 0.1


def test_low_resolution_leaves_a_coarse_axis_alone() -> None:
    stack = torch.randn(1, 1, 8, 1, 1).expand(1, 1, 8, 12, 12)
    view = LowResolution(0.6, spacing=(5.0, 1.0, 1.0))
    assert torch.allclose(view.image(stack, at(0.5)), stack, atol=1e-5)


def test_a_bias_field_is_smooth_bounded_and_positive() -> None:
    images = torch.ones(3, 1, 30, 30)
    images[:, :, 0, 0] = 0.0  # the minimum from which intensities are counted
    ratio = BiasField(0.5).image(images, at(0.5, batch=3)).squeeze(1)[:, 1:, 1:]
    assert float(ratio.log().abs().max()) <= 0.5
    assert float(ratio.log().diff(dim=1).abs().max()) < 0.06
    assert float(ratio.std(dim=(1, 2)).min()) > 0.01
    assert not torch.allclose(ratio[0], ratio[1])


def test_amounts_stay_within_the_strength() -> None:
    generator = torch.Generator().manual_seed(0)
    limits = {
        Noise(0.1): (0, 0.1),
        Blur(1.2): (0, 1.2),
        Brightness(0.3): (-0.3, 0.3),
        Contrast(0.3): (1 / 1.3, 1.3),
        Gamma(0.5): (1 / 1.5, 1.5),
        LowResolution(0.5): (0.5, 1),
        BiasField(0.3): (0, 0.3),
    }
    for view, (low, high) in limits.items():
        amount = view.sample(300, (4, 4), generator).amount
        assert low <= float(amount.min()) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < float(amount.max()) <= high + 1e-6
