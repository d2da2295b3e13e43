from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paucis.batch import Task
from paucis.data.case import Geometry
from paucis.data.formats import write_mask
from paucis.data.layouts import scans
from paucis.data.options import DataOptions
from paucis.data.shapes import Shape, ShapePrior, read_shapes
from paucis.errors import PaucisError

TASK = Task(2, 1, 2, (24, 24))


def bar(size: tuple[int, ...] = (24, 24), thick: int = 2) -> np.ndarray[Any, Any]:
    mask = np.zeros(size, np.float32)
    mask[(*(slice(size[axis] // 4, -size[axis] // 4) for axis in range(len(size) - 1)), slice(8, 8 + thick))] = 1
    return mask


def prior(*masks: np.ndarray[Any, Any], patch: tuple[int, ...] = (24, 24), **options: Any) -> ShapePrior:
    return ShapePrior([Shape(mask, (1.0,) * mask.ndim) for mask in masks], patch, **options)


@pytest.mark.parametrize("size", [(24, 20), (6, 10, 16)])
def test_a_mask_of_the_crops_size_is_itself_and_its_mirror_images_are_those(size: tuple[int, ...]) -> None:
    mask = bar(size)
    still = prior(mask, patch=size, rotation=0.0, crop=0.0)
    assert np.array_equal(still.whole(0)[0], mask)
    drawn = {still.draw(0, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    axes = range(len(size))
    mirrored = {np.flip(mask, [a for a in axes if k >> a & 1]).tobytes() for k in range(2 ** len(size))}
    assert drawn == mirrored


def test_a_right_angle_is_numpys_and_the_area_stays_under_any_rotation() -> None:
    disc = np.hypot(*np.mgrid[-16:16, -16:16] + 0.5) < 9
    shapes = prior(disc.astype(np.float32), patch=(32, 32), crop=0.0, threshold=0.5)
    areas = [shapes.draw(0, np.random.default_rng(seed)).sum() for seed in range(8)]
    assert np.allclose(areas, disc.sum(), rtol=0.05)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    mask = bar((24, 24))
    looked = prior(mask)._look(Shape(mask, (1.0, 1.0)), turn, np.zeros(2), np.ones(2))
    assert any(np.array_equal(looked[0], np.rot90(mask, k)) for k in (1, 3))


def test_cropping_enlarges_and_background_lies_around_a_rotated_mask() -> None:
    full = prior(np.ones((24, 24), np.float32), rotation=0.0, crop=0.3)
    assert all(full.draw(0, np.random.default_rng(seed)).all() for seed in range(4))
    turned = prior(np.ones((24, 24), np.float32), crop=0.0, threshold=0.5)
    corners = [turned.draw(0, np.random.default_rng(seed))[0, 0, 0] for seed in range(8)]
    assert min(corners) == 0.0
    square = np.zeros((24, 24), np.float32)
    square[8:16, 8:16] = 1
    areas = [prior(square, rotation=0.0, crop=0.3).draw(0, np.random.default_rng(seed)).sum() for seed in range(9)]
    assert min(areas) >= 64
    assert max(areas) > 100


def test_what_is_drawn_is_a_function_of_the_generator() -> None:
    shapes = prior(bar())
    one, same, other = (shapes.draw(0, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert set(np.unique(one)) == {0.0, 1.0}


def test_thin_lines_of_a_large_mask_thicken_below_the_threshold_and_vanish_above_it() -> None:
    line = np.zeros((240, 240), np.float32)
    line[:, 120:122] = 1
    assert prior(line, threshold=0.1).whole(0).sum(-1).min() >= 1
    assert prior(line, threshold=0.9).whole(0).sum() == 0


def test_long_voxels_are_not_rotated_into_short_ones_and_lengths_are_kept() -> None:
    slab = np.zeros((6, 24, 24), np.float32)
    slab[2] = 1
    far = ShapePrior([Shape(slab, (5.0, 1.0, 1.0))], (6, 24, 24), crop=0.0, threshold=0.5)
    for seed in range(6):
        planes = far.draw(0, np.random.default_rng(seed))[0].reshape(6, -1).any(1)
        assert planes.tolist() in ([False, False, True, False, False, False], [False, False, False, True, False, False])
    turn, _, _ = prior(bar())._position(Shape(bar(), (2.0, 1.0)), np.random.default_rng(0))
    lengths = np.diag([2.0, 1.0])
    in_mm = lengths @ turn @ np.linalg.inv(lengths)
    assert np.allclose(in_mm @ in_mm.T, np.eye(2)), "a rotation of lengths, not of voxels"


def save(folder: Path, name: str, array: np.ndarray[Any, Any]) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(folder / name)


def test_a_folder_of_pictures_or_volumes_is_read(tmp_path: Path) -> None:
    save(tmp_path / "masks", "a.png", 255 * bar())
    save(tmp_path / "masks", "b.png", 255 * bar((40, 60), 3))
    read = read_shapes(tmp_path / "masks", TASK, DataOptions())
    assert len(read) == 2
    assert read.value == 255
    assert read.draw(1, np.random.default_rng(0)).shape == (1, 24, 24)
    volume = bar((6, 24, 24)).astype(np.uint8)
    (tmp_path / "volumes").mkdir()
    write_mask(tmp_path / "volumes" / "v.nii.gz", volume, Geometry(spacing=(2.0, 1.0, 1.0)))
    task = dataclasses.replace(TASK, ndim=3, patch=(6, 24, 24), spacing=(2.0, 1.0, 1.0))
    whole = read_shapes(tmp_path / "volumes", task, DataOptions())
    assert np.array_equal(whole.whole(0)[0], volume)
    assert whole.shapes[0].spacing == (2.0, 1.0, 1.0)
    slices = read_shapes(tmp_path / "volumes", TASK, DataOptions())
    assert len(slices) == int(volume.any((1, 2)).sum()), "slices without foreground are no shapes"


@pytest.mark.parametrize(
    ("array", "ndim", "said"),
    [
        (np.zeros((24, 24)), 2, "holds no foreground"),
        (np.ones((24, 24)), 2, "is foreground everywhere"),
        (np.arange(24 * 24).reshape(24, 24) % 7, 2, "holds 7 values: a reference mask holds 0 and one other"),
        (bar(), 3, "is a picture, and the images are planned as volumes"),
        (np.pad(np.ones((1, 1)), 600), 2, "loses all its foreground in a crop of 24 x 24 voxels"),
        (None, 2, "holds no scans"),
    ],
)
def test_what_cannot_be_a_reference_is_refused_in_one_line(
    array: np.ndarray[Any, Any] | None, ndim: int, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    if array is not None:
        save(folder, "mask.png", array)
    task = dataclasses.replace(TASK, ndim=ndim, patch=(24,) * ndim)
    with pytest.raises(PaucisError) as raised:
        read_shapes(folder, task, DataOptions())
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_of_folders_of_masks_is_named_with_them(tmp_path) -> None:
    (tmp_path / "octa").mkdir()
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "octa" / "a.png")
    with pytest.raises(PaucisError, match=r"name one of its folders \(octa\)"):
        scans(tmp_path)
