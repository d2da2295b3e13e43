"""Steps of preprocessing, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from paucis.data.case import Geometry
from paucis.datasets.scan import Loaded
from paucis.datasets.steps import LeftOut, apply
from paucis.errors import PaucisError

FLAT = Geometry(physical=False, suffix=".png", dims=2)


def block(shape: tuple[int, int, int] = (20, 30, 40), spacing: tuple[float, float, float] = (2.0, 1.0, 0.5)) -> Loaded:
    label = np.zeros(shape, np.uint8)
    label[8:12, 10:18, 16:30] = 1
    return Loaded(np.where(label > 0, 300, -500).astype(np.int16)[None], label, Geometry(spacing, (5.0, 6.0, 7.0)))


def test_a_window_clips_and_keeps_the_unit() -> None:
    done = apply([{"window": [-125, 275]}], block(), "a")
    assert sorted(np.unique(done.image)) == [-125, 275]
    assert not done.files


def test_a_zscore_is_that_of_the_whole_scan() -> None:
    done = apply([{"zscore": {}}], block(), "a")
    assert done.image.mean() == pytest.approx(0, abs=1e-5)
    assert done.image.std() == pytest.approx(1, abs=1e-5)


def test_resampling_keeps_extent_and_place() -> None:
    scan = block()
    done = apply([{"resample": 1.0}], scan, "a")
    assert done.image.shape == (1, 40, 30, 20)
    assert done.geometry.spacing == (1.0, 1.0, 1.0)
    assert done.geometry.origin == (5.25, 6.0, 6.5)  # the corner stays, the center of the first voxel moves
    assert done.label is not None
    assert done.label.sum() == scan.label.sum()  # voxels of one cubic millimeter before and after
    center = np.argwhere(done.label).mean(0)[::-1] + done.geometry.origin
    assert center == pytest.approx(np.argwhere(scan.label).mean(0)[::-1] * scan.geometry.spacing[::-1] + (5, 6, 7))


def test_a_crop_leaves_the_margin_on_every_side() -> None:
    done = apply([{"crop": {"margin": 3}}], block(), "a")
    assert done.image.shape == (1, 10, 14, 20)
    assert done.label is not None
    assert [int(places.min()) for places in np.nonzero(done.label)] == [3, 3, 3]
    assert done.geometry.origin == (5 + 13 * 0.5, 6 + 7, 7 + 5 * 2)


def test_a_crop_within_the_slice_keeps_every_slice_and_stops_at_the_edge() -> None:
    done = apply([{"crop": {"margin": 25, "axes": "yx"}}], block(), "a")
    assert done.image.shape == (1, 20, 30, 40)
    done = apply([{"crop": {"margin": 1, "axes": "yx", "least": [0, 20, 10]}}], block(), "a")
    assert done.image.shape == (1, 20, 8 + 2 * (1 + 6), 14 + 2)  # half of what is missing to 20 on both sides


def test_a_drawn_margin_lies_in_its_range_and_depends_on_the_name_alone() -> None:
    step = [{"crop": {"margin": [1, 5], "axes": "yx"}}]
    sizes = {name: apply(step, block(), name).image.shape for name in "abcdefgh"}
    assert {name: apply(step, block(), name).image.shape for name in "abcdefgh"} == sizes
    assert len(set(sizes.values())) > 1
    assert all(8 + 2 <= shape[2] <= 8 + 10 for shape in sizes.values())


def test_a_crop_without_a_label_is_refused() -> None:
    with pytest.raises(PaucisError, match="label is empty"):
        apply([{"crop": {"margin": 3}}], block()._replace(label=np.zeros((20, 30, 40), np.uint8)), "a")


def fundus(radius: int) -> Loaded:
    grid = np.ogrid[:1, :80, :100]
    field = (grid[1] - 40) ** 2 + (grid[2] - 45) ** 2 <= radius**2
    image = np.where(field, 90, 4).astype(np.uint8)[None].repeat(3, 0)
    image[:, :, 2:5, 95:98] = 255  # a label in the corner, as cameras print it
    return Loaded(image, np.where(field, 255, 0).astype(np.uint8), FLAT)


def test_the_field_of_view_is_the_largest_part() -> None:
    done = apply([{"view": {"over": 20, "margin": 4}}], fundus(30), "a")
    assert done.image.shape == (3, 1, 69, 69)
    assert done.label is not None
    assert done.label[0, 4, 34] == 255
    assert done.label[0, 3, 34] == 0


def test_a_small_field_is_left_out_where_the_protocol_says_so() -> None:
    with pytest.raises(LeftOut):
        apply([{"view": {"over": 20, "margin": 4, "least": 0.25}}], fundus(20), "a")
    with pytest.raises(PaucisError, match="nothing of it is brighter"):
        apply([{"view": {"over": 255, "margin": 4}}], fundus(20), "a")


def test_thin_vessels_survive_a_smaller_size_and_values_stay_two() -> None:
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, :, 31] = 255
    done = apply([{"size": {"to": [32, 32]}}], Loaded(np.zeros((3, 1, 64, 64), np.uint8), label, FLAT), "a")
    assert done.label is not None
    assert sorted(np.unique(done.label)) == [0, 255]
    assert done.label[0].any(1).all()
    assert done.image.dtype == np.uint8


def test_the_share_from_which_a_shrunk_pixel_is_vessel_is_the_protocols() -> None:
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 31, 31] = 255
    scan = Loaded(np.zeros((1, 1, 64, 64), np.uint8), label, FLAT)
    few, many = (apply([{"size": {"to": [16, 16], "above": above}}], scan, "a").label for above in (0.3, 0.01))
    assert few is not None
    assert many is not None
    assert not few.any()
    assert many.any()


def test_a_label_of_several_classes_is_resized_without_new_values() -> None:
    label = np.arange(64 * 64).reshape(1, 64, 64).astype(np.uint8) // 64
    done = apply([{"size": {"to": [48, 40]}}], Loaded(np.zeros((1, 1, 64, 64), np.uint8), label, FLAT), "a")
    assert done.label is not None
    assert set(np.unique(done.label)) <= set(np.unique(label))


def test_gray_is_the_luma() -> None:
    image = np.array([200, 100, 50], np.uint8).reshape(3, 1, 1, 1)
    assert apply([{"gray": {}}], Loaded(image, None, FLAT), "a").image.ravel().tolist() == [124]


def test_relabeling_drops_what_it_does_not_name() -> None:
    label = np.array([[[0, 1, 2, 4]]], np.uint8)
    done = apply([{"relabel": {1: 1, 4: 1}}], Loaded(np.zeros((1, 1, 1, 4)), label, FLAT), "a")
    assert done.label is not None
    assert done.label.ravel().tolist() == [0, 1, 0, 1]
