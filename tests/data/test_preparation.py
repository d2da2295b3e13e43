from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from making_cases import EYE, FLIPPED, OBLIQUE, imagined, planned

from paucis.batch import IGNORE
from paucis.data.case import Geometry, Volume
from paucis.data.grid import coarse_axis, trace_of
from paucis.data.preparation import orient, prepare, prepare_label, resample, unorient
from paucis.errors import PaucisError

SLANTED = (0.0, 0.8, 0.6, -1.0, 0.0, 0.0, 0.0, -0.6, 0.8)
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
DIRECTIONS = [EYE, SAGITTAL, FLIPPED, OBLIQUE, SLANTED, (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)]


def plan_of(spacing=(1.0, 1.0, 1.0), **options):
    return planned([imagined("c", (40, 40, 40), spacing=spacing)], classes=("background", "a", "b"), **options)


def random_volume(shape=(5, 6, 7), channels=1, **geometry):
    array = np.random.default_rng(0).normal(50, 9, (channels, *shape)).astype(np.float32)
    return Volume(array, Geometry(**geometry))


def position(geometry, index):
    """Where voxel (z, y, x) lies, in mm, as SimpleITK says."""
    image = sitk.Image(*(8, 8, 8), sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return np.array(image.TransformContinuousIndexToPhysicalPoint([float(i) for i in index[::-1]]))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_turning_is_undone_exactly(direction):
    array = np.arange(2 * 5 * 6 * 7).reshape(2, 5, 6, 7)
    trace = trace_of(Geometry(direction=direction), (5, 6, 7))
    turned = orient(array, trace)
    assert turned.shape == (2, *trace.oriented)
    np.testing.assert_array_equal(unorient(turned, trace), array)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_turned_axes_run_to_superior_posterior_and_left(direction):
    geometry = Geometry(spacing=(3.0, 2.0, 1.0), origin=(4.0, -9.0, 2.0), direction=direction)
    trace = trace_of(geometry, (5, 6, 7))
    places = np.array([position(geometry, index) for index in np.ndindex(5, 6, 7)])
    where = orient(places.T.reshape(3, 5, 6, 7), trace)
    for axis, world in ((1, 2), (2, 1), (3, 0)):  # Z to superior, Y to posterior, X to left, of (x, y, z) in LPS
        step = np.diff(where, axis=axis).reshape(3, -1).mean(1)
        assert step[world] > 0
        assert abs(step[world]) >= 0.6 * np.linalg.norm(step)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_turned_slices_keep_the_order_and_sense_of_the_other_axes(direction):
    thick = Geometry(spacing=(9.0, 1.0, 1.0), direction=direction)
    whole, stack = trace_of(thick, (5, 6, 7)), trace_of(thick, (5, 6, 7), slice_axis=0)
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    first = whole.axes.index(0)
    np.testing.assert_array_equal(orient(array, stack), np.moveaxis(orient(array, whole), first, 0))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_voxel_keeps_its_place_in_mm_through_preparation_and_back(direction, ndim):
    geometry = Geometry(spacing=(3.0, 2.0, 1.0), origin=(4.0, -9.0, 2.0), direction=direction)
    array = np.zeros((1, 6, 8, 10), np.float32)
    array[0, 1, 5, 7] = 1.0
    plan = plan_of(normalization="none", dims=str(ndim))
    prepared, trace = prepare(Volume(array, geometry), plan)
    center = np.array([np.average(c, weights=prepared[0]) for c in np.indices(prepared.shape[1:])])
    oriented = (center + 0.5) * np.array(trace.oriented) / np.array(trace.prepared) - 0.5
    stored = np.empty(3)
    for axis, source in enumerate(trace.axes):
        stored[source] = trace.oriented[axis] - 1 - oriented[axis] if axis in trace.flips else oriented[axis]
    np.testing.assert_allclose(position(geometry, stored), position(geometry, (1, 5, 7)), atol=1e-3)


def test_the_planned_spacing_sets_the_size():
    _, trace = prepare(random_volume((10, 20, 30), spacing=(2.0, 1.0, 0.5)), plan_of())
    assert trace.oriented == (10, 20, 30)
    assert trace.prepared == (20, 20, 15)


def test_files_without_geometry_are_taken_as_they_are():
    volume = random_volume((10, 20, 30), physical=False, direction=FLIPPED)
    prepared, trace = prepare(volume, plan_of(spacing=(2.0, 2.0, 2.0), normalization="none"))
    assert trace.prepared == trace.shape == (10, 20, 30)
    np.testing.assert_array_equal(prepared, volume.array)


def test_slices_come_first_and_are_not_resampled():
    plan = planned([imagined("s", (9, 100, 120), spacing=(10.0, 1.5, 1.5))])
    coronal = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)
    for direction in (EYE, coronal, SLANTED):
        _, trace = prepare(random_volume((9, 40, 50), spacing=(8.0, 3.0, 3.0), direction=direction), plan)
        assert trace.axes[0] == 0
        assert trace.prepared[0] == 9
        assert sorted(trace.prepared[1:]) == [80, 100]


def test_a_fixed_size_holds_for_every_case_of_a_2d_plan():
    plan = planned([imagined("p", (1, 64, 96), dims=2, physical=False)])
    prepared, trace = prepare(random_volume((1, 50, 70), dims=2, physical=False), plan)
    assert prepared.shape == (1, 1, 64, 96)
    assert trace.prepared == (1, 64, 96)


def test_the_slice_axis_of_a_file_without_spacing_is_the_short_one():
    bare = Geometry(physical=False)
    assert coarse_axis(bare, (10, 200, 180)) == 0
    assert coarse_axis(bare, (140, 183, 16)) == 2
    assert coarse_axis(bare, (140, 183, 88)) is None
    assert coarse_axis(Geometry(spacing=(5.0, 1.0, 1.0)), (50, 50, 50)) == 0
    assert coarse_axis(Geometry(), (50, 50, 50)) is None


def test_each_normalization_does_what_it_says():
    volume = random_volume((20, 20, 20))
    x = volume.array.astype(np.float64)
    zscore, _ = prepare(volume, plan_of(normalization="zscore"))
    np.testing.assert_allclose(zscore, (x - x.mean()) / x.std(), atol=1e-4)
    unit, _ = prepare(volume, plan_of(normalization="unit"))
    np.testing.assert_allclose(unit, (x - x.min()) / (x.max() - x.min()), atol=1e-5)
    dataset, _ = prepare(volume, plan_of(normalization="dataset"))
    np.testing.assert_allclose(dataset, (x - 10.0) / 2.0, rtol=1e-5)
    ct, _ = prepare(volume, plan_of(normalization="ct"))
    np.testing.assert_allclose(ct, (x.clip(1.0, 19.0) - 10.0) / 2.0, rtol=1e-5)
    stored, _ = prepare(volume, plan_of(normalization="none"))
    np.testing.assert_array_equal(stored, volume.array)


def neighborhoods(x, widths):
    """Gaussian mean and variance around every voxel, voxel by voxel; the border goes on beyond the edge."""
    mean, squares = np.zeros_like(x), np.zeros_like(x)
    radii = [int(4 * width + 0.5) for width in widths]
    padded = np.pad(x, [(radius, radius) for radius in radii], mode="edge")
    ways = [np.arange(-radius, radius + 1) for radius in radii]
    bells = [
        np.exp(-0.5 * (way / width) ** 2) if width else np.ones(1) for way, width in zip(ways, widths, strict=True)
    ]
    weights = np.einsum("i,j,k->ijk", *(bell / bell.sum() for bell in bells))
    for place in np.ndindex(x.shape):
        around = padded[tuple(slice(at, at + 2 * radius + 1) for at, radius in zip(place, radii, strict=True))]
        mean[place], squares[place] = (weights * around).sum(), (weights * around**2).sum()
    return mean, squares - mean**2


@pytest.mark.parametrize(
    ("options", "spacing", "widths"),
    [
        ({"dims": "3"}, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        ({"dims": "3"}, (2.0, 1.0, 1.0), (0.5, 1.0, 1.0)),
        ({"dims": "2"}, (1.0, 1.0, 1.0), (0.0, 1.0, 1.0)),
    ],
)
def test_local_normalization_is_by_the_neighborhood_on_the_planned_grid(options, spacing, widths):
    volume = random_volume((6, 7, 8), spacing=spacing)
    volume.array[0, :, 3:] *= 5  # a step in brightness and contrast that is gone afterwards
    prepared, _ = prepare(volume, plan_of(spacing, normalization="local", reach=1.0, **options))
    x = volume.array[0].astype(np.float64)
    x = (x - x.mean()) / x.std()
    mean, variance = neighborhoods(x, widths)
    np.testing.assert_allclose(prepared[0], (x - mean) / np.sqrt(variance + 0.1**2), atol=1e-3)


def test_local_normalization_takes_a_slow_change_of_brightness_away():
    waves = np.sin(np.arange(128) * 1.3)[None, None, None] * np.ones((1, 1, 128, 1))
    ramp = np.linspace(0, 60, 128)[:, None]
    plan = plan_of(normalization="local", reach=6.0, dims="2")
    one, other = (prepare(Volume((waves + add).astype(np.float32), Geometry()), plan)[0] for add in (ramp, 3 * ramp))
    inner = np.s_[0, 0, 30:-30, 30:-30]
    waves = waves[0, 0, 30:-30, 30:-30].ravel()
    for found in (one, other):
        assert np.corrcoef(found[inner].ravel(), waves)[0, 1] > 0.9


def test_preparing_leaves_the_volume_alone_and_bears_constant_images():
    volume = random_volume((4, 4, 4))
    before = volume.array.copy()
    prepare(volume, plan_of())
    np.testing.assert_array_equal(volume.array, before)
    for kind in ("zscore", "unit", "local"):
        flat, _ = prepare(Volume(np.full((1, 4, 4, 4), 7, np.int16), Geometry()), plan_of(normalization=kind))
        assert np.abs(flat).max() == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    volume = random_volume()
    volume.array[0, 1, 2, 3] = value
    with pytest.raises(PaucisError, match="1 NaN or infinite"):
        prepare(volume, plan_of())


def test_another_number_of_channels_is_refused():
    with pytest.raises(PaucisError, match="2 channels and the plan 1"):
        prepare(random_volume(channels=2), plan_of())


def test_resampling_keeps_a_linear_ramp_and_axes_that_do_not_change():
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 5, 6))[None]
    finer = resample(ramp, (24, 5, 6))
    np.testing.assert_allclose(finer[0, 2:-2, 0, 0], (np.arange(24) + 0.5)[2:-2] / 2 - 0.5, atol=1e-5)
    noise = np.random.default_rng(0).normal(size=(2, 5, 6, 7)).astype(np.float32)
    assert resample(noise, (5, 6, 7)) is noise
    np.testing.assert_allclose(resample(noise, (5, 12, 7)).mean((2,)), noise.mean((2,)), atol=0.2)
    by_slice = resample(noise, (5, 9, 11))
    np.testing.assert_allclose(by_slice[:, 2:3], resample(noise[:, 2:3], (1, 9, 11)), atol=1e-6)


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 30)[None, None, None].repeat(2, 2)
    shrunk = resample(stripes, (1, 2, 13))
    assert np.abs(shrunk[..., 2:-2] - 0.5).max() < 0.1


def test_masks_become_class_indices_whatever_their_raw_values():
    plan = dataclasses.replace(plan_of(), values=(0, 255, 7))
    raw = np.array([0, 7, 255, 0], np.uint8).reshape(1, 1, 1, 4)
    np.testing.assert_array_equal(prepare_label(Volume(raw, Geometry()), plan).ravel(), [0, 2, 1, 0])
    np.testing.assert_array_equal(prepare_label(Volume(raw.astype(np.float32), Geometry()), plan).ravel(), [0, 2, 1, 0])


@pytest.mark.parametrize("value", [9, 300, -1, 0.5])
def test_a_mask_value_that_is_no_class_is_named(value):
    raw = np.zeros((1, 2, 2, 2), np.float32)
    raw[0, 0, 0, 0] = value
    with pytest.raises(PaucisError, match=f"holds {value}, which is no class .*1 a"):
        prepare_label(Volume(raw, Geometry()), plan_of())


def test_a_mask_of_another_shape_than_its_image_is_refused():
    plan = plan_of()
    _, trace = prepare(random_volume((5, 6, 7)), plan)
    with pytest.raises(PaucisError, match=r"5 x 6 x 8.*5 x 6 x 7"):
        prepare_label(Volume(np.zeros((1, 5, 6, 8), np.uint8), Geometry()), plan, trace)


def test_masks_are_resampled_with_volumes_kept_and_no_new_class():
    z, y, x = np.indices((30, 30, 30))
    ball = ((z - 15) ** 2 + (y - 14) ** 2 + (x - 16) ** 2 < 100).astype(np.uint8) * 2
    plan = plan_of()
    for spacing in ((2.0, 1.3, 0.7), (0.5, 0.5, 0.5), (1.0, 1.0, 3.0)):
        label = prepare_label(Volume(ball[None], Geometry(spacing=spacing)), plan)
        assert set(np.unique(label)) == {0, 2}
        assert label.sum() == pytest.approx(ball.sum() * np.prod(spacing), rel=0.06)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.6, 2.0), (3.0, 1.0, 0.4)])
def test_an_ignored_voxel_stays_ignored_and_a_labeled_one_labeled(spacing):
    plan = dataclasses.replace(plan_of(), ignore=(7, 9))
    raw = np.random.default_rng(0).choice([0, 1, 2, 7, 9], (1, 9, 10, 11)).astype(np.uint8)
    label = prepare_label(Volume(raw, Geometry(spacing=spacing)), plan)
    nearest = raw[0]
    for axis, size in enumerate(label.shape):
        center = (np.arange(size) + 0.5) * raw.shape[axis + 1] / size - 0.5
        nearest = nearest.take(np.round(center).astype(int).clip(0, raw.shape[axis + 1] - 1), axis)
    np.testing.assert_array_equal(label == IGNORE, nearest >= 7)
    assert set(np.unique(label)) == {0, 1, 2, IGNORE}
    if spacing == (1.0, 1.0, 1.0):
        np.testing.assert_array_equal(label, np.where(raw[0] >= 7, IGNORE, raw[0]))


def test_between_an_ignored_and_a_labeled_voxel_nothing_is_known():
    plan = dataclasses.replace(planned([imagined("p", (1, 32, 32), dims=2, physical=False)]), ignore=(2,))
    raw = np.zeros((1, 1, 64, 64), np.uint8)
    raw[..., 10] = 2
    label = prepare_label(Volume(raw, Geometry(dims=2, physical=False)), plan)
    assert (label[..., 5] == IGNORE).all()
    assert (label == IGNORE).sum() == 32


def test_a_line_of_one_pixel_survives_halving():
    raw = np.zeros((1, 1, 64, 64), np.uint8)
    raw[0, 0, :, 31] = 1
    plan = planned([imagined("p", (1, 32, 32), dims=2, physical=False)])
    label = prepare_label(Volume(raw, Geometry(dims=2, physical=False)), plan)
    assert label.shape == (1, 32, 32)
    assert label.any(axis=2).all()


def test_image_and_mask_stay_together():
    geometry = Geometry(spacing=(2.0, 1.0, 1.5), direction=SLANTED)
    mask = np.zeros((1, 20, 24, 28), np.uint8)
    mask[0, 4:12, 10:20, 5:15] = 1
    plan = plan_of(normalization="none")
    image, _ = prepare(Volume(mask.astype(np.float32), geometry), plan)
    label = prepare_label(Volume(mask, geometry), plan)
    assert ((image[0] > 0.5) != (label == 1)).mean() < 0.01
