from __future__ import annotations

import pytest
import torch

from paucis.views import Elastic
from paucis.views.elastic import ElasticParams, spline_matrix


def test_spline_weights_add_up_to_one_and_reproduce_a_line() -> None:
    weights = spline_matrix(33, 7.5)
    assert torch.allclose(weights.sum(1), torch.ones(33), atol=1e-5)
    line = weights @ ((torch.arange(weights.shape[1]) - 1) * 7.5)
    assert torch.allclose(line, torch.arange(33.0), atol=1e-3)


@pytest.mark.parametrize("spatial", [(40, 32), (24, 28, 20)])
def test_the_strongest_deformation_does_not_fold(spatial: tuple[int, ...]) -> None:
    ndim = len(spatial)
    view = Elastic(0.39, distance=6.0)
    generator = torch.Generator().manual_seed(0)
    params = view.sample(20, spatial, generator)
    extreme = ElasticParams(params.control.sign() * 0.39 * 6.0, params.applied)
    places = view.origin(extreme, None, spatial)
    edges = [places.diff(dim=axis + 1) for axis in range(ndim)]
    inner = tuple(slice(0, size - 1) for size in spatial)
    jacobian = torch.stack([edge[(slice(None), *inner)] for edge in edges], -1)
    assert float(torch.linalg.det(jacobian).min()) > 0
    with pytest.raises(ValueError, match="fold"):
        Elastic(0.4)


@pytest.mark.parametrize("spatial", [(40, 32), (24, 28, 20)])
def test_inversion_brings_a_smooth_map_back(spatial: tuple[int, ...]) -> None:
    view = Elastic(0.3, distance=10.0)
    params = view.sample(3, spatial, torch.Generator().manual_seed(0))
    axes = torch.meshgrid(*[torch.linspace(-3, 3, size) for size in spatial], indexing="ij")
    smooth = torch.stack(axes).sin().sum(0).expand(3, 1, *spatial)
    moved = view.image(smooth, params)
    middle = (slice(None), slice(None), *[slice(6, -6)] * len(spatial))
    assert (moved - smooth)[middle].abs().max() > 0.2
    assert (view.invert(moved, params) - smooth)[middle].abs().max() < 0.1


def test_image_and_label_move_together_by_at_most_the_strength() -> None:
    view = Elastic(0.3, distance=8.0)
    params = view.sample(5, (32, 32), torch.Generator().manual_seed(2))
    labels = torch.zeros(5, 32, 32, dtype=torch.long)
    labels[:, 12:20, 10:22] = 1
    images = view.image(labels.unsqueeze(1).float(), params).squeeze(1)
    moved = view.labels(labels, params, fill=0)
    assert (images[moved == 1] >= 0.2).all()
    assert (images[moved == 0] <= 0.8).all()
    assert not torch.equal(moved[0], moved[1])
    assert float(view.field(params, (32, 32)).abs().max()) <= 0.3 * 8.0


def test_a_coarse_axis_is_moved_by_as_many_mm_not_voxels() -> None:
    spacing = (5.0, 1.0, 1.0)
    params = Elastic(0.3, distance=10.0, spacing=spacing).sample(50, (12, 30, 30), torch.Generator().manual_seed(0))
    largest = params.control.abs().amax((0, 2, 3, 4)) * torch.tensor(spacing)
    assert largest.tolist() == pytest.approx([3.0, 3.0, 3.0], rel=0.02)


def test_untouched_images_stay_bit_for_bit() -> None:
    view = Elastic(probability=0.5)
    params = view.sample(10, (20, 20), torch.Generator().manual_seed(0))
    images = torch.randn(10, 1, 20, 20)
    moved = view.image(images, params)
    assert 0 < int(params.applied.sum()) < 10
    assert torch.equal(moved[~params.applied], images[~params.applied])
    assert params.control[~params.applied].abs().max() == 0


def test_what_comes_from_outside_is_not_valid() -> None:
    view = Elastic(0.3, distance=8.0)
    params = view.sample(1, (32, 32), torch.Generator().manual_seed(0))
    pull = ElasticParams(torch.full_like(params.control, 3.0), params.applied)  # every place shows what lies 3 further
    valid = view.valid(pull, (32, 32))[0]
    assert valid[:29, :29].all()
    assert not valid[29:].any()
    assert not valid[:, 29:].any()
