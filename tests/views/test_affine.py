from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paucis.batch import IGNORE
from paucis.views import Affine
from paucis.views.affine import AffineParams, rotation_matrix


def turned(degrees: float, spacing: tuple[float, ...], plane: int = 0) -> AffineParams:
    """Parameters that turn one image by an exact angle."""
    ndim = len(spacing)
    angles = torch.zeros(1, 1 if ndim == 2 else 3)
    angles[0, plane] = math.radians(degrees)
    d = torch.tensor(spacing)
    matrix = rotation_matrix(angles, ndim) * d / d.unsqueeze(1)
    return AffineParams(matrix, torch.zeros(1, ndim), torch.tensor([True]))


def places(mask: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Voxels of a mask in mm about the middle."""
    middle = (torch.tensor(mask.shape) - 1) / 2
    return (mask.nonzero() - middle) * torch.tensor(spacing)


def box(spatial: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(1, *spatial, dtype=torch.long)
    mask[(0, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = 1
    return mask


@pytest.mark.parametrize("spatial", [(7, 7), (7, 7, 7)])
def test_a_quarter_turn_is_that_of_rot90(spatial: tuple[int, ...]) -> None:
    view, ndim = Affine(), len(spatial)
    images = torch.randn(1, 2, *spatial)
    planes = [(0, 1)] if ndim == 2 else [(1, 2), (0, 2), (0, 1)]  # about axis 0, 1, 2
    for number, (one, two) in enumerate(planes):
        params = turned(90, (1.0,) * ndim, number)
        assert torch.allclose(view.image(images, params), torch.rot90(images, -1, (two + 2, one + 2)), atol=1e-4)
        labels = torch.randint(0, 4, (1, *spatial))
        assert torch.equal(view.labels(labels, params), torch.rot90(labels, -1, (two + 1, one + 1)))


def test_a_rod_turned_in_an_anisotropic_stack_keeps_its_length_in_mm() -> None:
    spacing, spatial = (3.0, 1.0, 1.0), (21, 61, 5)
    rod = box(spatial, (10, 10, 2), (11, 51, 3))  # 41 mm along axis 1
    moved = Affine(spacing=spacing).labels(rod, turned(90, spacing, 2), fill=0)[0]
    extent = places(moved, spacing)
    length = extent.amax(0) - extent.amin(0) + torch.tensor(spacing)
    assert float(length[0]) == pytest.approx(41, abs=3)
    assert float(length[1]) <= 3
    # turned by 45 degrees in mm, not in voxels
    diagonal = places(Affine(spacing=spacing).labels(rod, turned(45, spacing, 2), fill=0)[0], spacing)
    slope = torch.linalg.lstsq(diagonal[:, 1:2], diagonal[:, :1]).solution
    assert abs(float(slope)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("spacing", [(3.0, 0.5), (5.0, 1.0, 2.0)])
def test_drawn_rotations_keep_distances_in_mm(spacing: tuple[float, ...]) -> None:
    ndim = len(spacing)
    view = Affine(60.0, spacing=spacing)
    params = view.sample(20, (8,) * ndim, torch.Generator().manual_seed(0))
    points = torch.randn(20, 50, *[1] * (ndim - 1), ndim)
    shown = view.origin(params, points, (50, *[1] * (ndim - 1)))
    mm = torch.tensor(spacing)
    before = torch.pdist((points[0].reshape(50, ndim) * mm).double())
    after = torch.pdist((shown[0].reshape(50, ndim) * mm).double())
    assert torch.allclose(before, after, atol=1e-4)
    assert (shown - points).abs().max() > 0.5


def test_a_positive_angle_turns_axis_0_towards_axis_1() -> None:
    spot = torch.zeros(1, 21, 21, dtype=torch.long)
    spot[0, 18, 10] = 1  # on the positive half of axis 0
    moved = Affine().labels(spot, turned(90, (1.0, 1.0)))
    assert moved[0, 10, 18] == 1
    assert moved.eq(1).sum() == 1


def test_scale_enlarges_and_shift_moves_the_content() -> None:
    view = Affine()
    mask = box((21, 21), (8, 8), (13, 13))
    double = AffineParams(2 * torch.eye(2).unsqueeze(0), torch.zeros(1, 2), torch.tensor([True]))
    assert int(view.labels(mask, double, fill=0).sum()) == pytest.approx(4 * 25, abs=21)
    shifted = AffineParams(torch.eye(2).unsqueeze(0), torch.tensor([[3.0, -2.0]]), torch.tensor([True]))
    assert torch.equal(view.labels(mask, shifted, fill=0), box((21, 21), (11, 6), (16, 11)))
    images = torch.randn(1, 1, 21, 21)
    assert torch.allclose(view.image(images, shifted)[..., 3:, :-2], images[..., :-3, 2:], atol=1e-5)


@pytest.mark.parametrize("spatial", [(24, 20), (16, 20, 12)])
def test_a_spot_goes_to_the_same_place_in_image_and_label(spatial: tuple[int, ...]) -> None:
    view = Affine(30.0, 0.2, 2.0, spacing=(2.0, 1.0, 1.0)[: len(spatial)])
    params = view.sample(6, spatial, torch.Generator().manual_seed(0))
    middle = tuple(slice(size // 2 - 2, size // 2 + 2) for size in spatial)
    labels = torch.zeros(6, *spatial, dtype=torch.long)
    labels[(slice(None), *middle)] = 1
    images = view.image(labels.unsqueeze(1).float(), params).squeeze(1)
    moved = view.labels(labels, params, fill=0)
    assert (images[moved == 1] >= 0.2).all()
    assert (images[moved == 0] <= 0.8).all()
    for image, mask in zip(images, moved, strict=True):
        weights = image[image > 0].unsqueeze(1)
        center = (image.nonzero() * weights).sum(0) / weights.sum()
        assert torch.allclose(center, mask.nonzero().float().mean(0), atol=0.5)


def test_voxels_from_outside_are_invalid_and_ignored() -> None:
    view = Affine()
    params = AffineParams(torch.eye(2).unsqueeze(0), torch.tensor([[4.0, 0.0]]), torch.tensor([True]))
    valid = view.valid(params, (10, 8))
    assert not valid[0, :4].any()
    assert valid[0, 4:].all()
    labels = view.labels(torch.ones(1, 10, 8, dtype=torch.long), params)
    assert torch.equal(labels.ne(IGNORE), valid)
    images = torch.arange(10.0).reshape(1, 1, 10, 1).expand(1, 1, 10, 8)
    assert torch.equal(view.image(images, params)[0, 0, :4], torch.zeros(4, 8))  # the border's value


def test_each_image_has_its_own_change_and_the_others_stay_untouched() -> None:
    view = Affine(20.0, 0.1, probability=0.5)
    params = view.sample(12, (16, 16), torch.Generator().manual_seed(1))
    images = torch.randn(1, 1, 16, 16).expand(12, -1, -1, -1)
    moved = view.image(images, params)
    assert 0 < int(params.applied.sum()) < 12
    assert torch.equal(moved[~params.applied], images[~params.applied])
    changed = moved[params.applied]
    distances = torch.cdist(changed.flatten(1), changed.flatten(1)) + 99 * torch.eye(len(changed))
    assert float(distances.min()) > 0.1
    assert torch.equal(params.matrix[~params.applied], torch.eye(2).expand(int((~params.applied).sum()), 2, 2))


def test_inversion_brings_a_smooth_map_back() -> None:
    view = Affine(25.0, 0.15, 2.0, spacing=(1.0, 1.5, 1.0))
    params = view.sample(4, (24, 24, 24), torch.Generator().manual_seed(0))
    axes = torch.meshgrid(*[torch.linspace(-2, 2, 24)] * 3, indexing="ij")
    smooth = (-(axes[0] ** 2) - (axes[1] - 0.3) ** 2 - 2 * axes[2] ** 2).exp().expand(4, 1, 24, 24, 24)
    back = view.invert(view.image(smooth, params), params)
    middle = (slice(None), slice(None), *[slice(7, 17)] * 3)
    assert (back - smooth)[middle].abs().max() < 0.06
    assert (view.image(smooth, params) - smooth)[middle].abs().max() > 0.2


def test_draws_depend_on_the_generator_alone() -> None:
    view = Affine(20.0, 0.1, 1.0)
    one = view.sample(4, (8, 8, 8), torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    two = view.sample(4, (8, 8, 8), torch.Generator().manual_seed(5))
    other = view.sample(4, (8, 8, 8), torch.Generator().manual_seed(6))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.matrix, other.matrix)


def test_angles_and_factors_stay_within_their_limits() -> None:
    params = Affine(10.0, 0.25).sample(500, (8, 8), torch.Generator().manual_seed(0))
    factors = torch.linalg.det(params.matrix).sqrt()
    angles = torch.atan2(params.matrix[:, 1, 0], params.matrix[:, 0, 0]) * 180 / math.pi
    assert 9 < float(angles.abs().max()) <= 10.001
    assert 1 / 1.2501 <= float(factors.min()) < 0.83
    assert 1.2 < float(factors.max()) <= 1.2501


def test_an_axis_of_zero_degrees_keeps_its_plane() -> None:
    params = Affine((15.0, 0.0, 0.0)).sample(5, (4, 8, 8), torch.Generator().manual_seed(0))
    assert torch.allclose(params.matrix[:, 0], torch.tensor([1.0, 0.0, 0.0]).expand(5, 3))
    assert torch.allclose(params.matrix[:, 1:, 0], torch.zeros(5, 2))
    assert (params.matrix[:, 1, 2].abs() > 1e-3).all()


def test_one_slice_is_a_volume_too() -> None:
    view = Affine((20.0, 0.0, 0.0))
    params = view.sample(2, (1, 12, 12), torch.Generator().manual_seed(0))
    images = torch.randn(2, 1, 1, 12, 12)
    assert torch.isfinite(view.image(images, params)).all()
    assert view.valid(params, (1, 12, 12))[:, :, 5:7, 5:7].all()
