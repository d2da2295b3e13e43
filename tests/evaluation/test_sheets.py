from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.phantoms import cube, labels

from paucis.data.case import Geometry
from paucis.evaluation.pictures.sheets import choose, draw
from paucis.evaluation.pictures.slices import CONFUSED, EXTRA, MISSED, RIGHT, UNKNOWN, Panel, worst_slice

PICTURE = Geometry(physical=False, dims=2, suffix=".png")
UPRIGHT = Geometry(spacing=(3.0, 1.0, 1.0))


def panel(prediction: np.ndarray, reference: np.ndarray, geometry: Geometry = UPRIGHT) -> Panel:
    return Panel("a case", prediction.astype(np.uint8), reference.astype(np.uint8), geometry)


def test_worst_median_and_best_case_are_chosen_once_each() -> None:
    assert choose({"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.7}) == [("worst", "b"), ("median", "c"), ("best", "a")]
    assert choose({"a": 0.9, "b": 0.1}) == [("worst", "b"), ("best", "a")]
    assert choose({"a": 0.9}) == [("only", "a")]
    assert choose({}) == []


def test_every_kind_of_pixel_is_told_apart() -> None:
    prediction, reference = np.array([[[0, 1, 1, 0, 2, 1]]]), np.array([[[0, 1, 0, 1, 1, 255]]])
    assert worst_slice(panel(prediction, reference, PICTURE)).kinds.tolist() == [
        [0, RIGHT, EXTRA, MISSED, CONFUSED, UNKNOWN]
    ]


def test_the_slice_with_the_most_errors_is_shown() -> None:
    reference = cube((6, 30, 30), (0, 10, 10), 6).astype(np.uint8)
    prediction = reference.copy()
    prediction[4, 10:13, 10:16] = 0
    found = worst_slice(panel(prediction, reference))
    assert (found.index, found.count) == (4, 6)
    assert (found.kinds == MISSED).sum() == 18


def test_without_errors_the_largest_object_is_shown() -> None:
    reference = np.zeros((5, 20, 20), dtype=np.uint8)
    reference[1, 5:8, 5:8], reference[3, 5:15, 5:15] = 1, 1
    assert worst_slice(panel(reference, reference)).index == 3


def test_slices_run_along_the_coarse_axis_and_keep_the_aspect_of_the_others() -> None:
    masks = labels((20, 6, 30), 0), labels((20, 6, 30), 1)
    found = worst_slice(panel(*masks, Geometry(spacing=(2.0, 8.0, 1.0))))
    assert found.count == 6
    assert found.aspect == 2.0


def test_the_head_and_the_front_are_on_top() -> None:
    """Marks at the superior and at the anterior end stand in the upper half of a coronal and an axial slice."""
    mark = np.zeros((20, 20, 20), dtype=np.uint8)
    mark[:, 8:12, 8:12] = 1
    prediction = mark.copy()
    prediction[17:] = 0  # missed at high z, which is superior
    coronal = worst_slice(panel(prediction, mark, Geometry(spacing=(1.0, 4.0, 1.0))))
    rows = np.nonzero((coronal.kinds == MISSED).any(axis=1))[0]
    assert rows.max() < len(coronal.kinds) / 2
    turned = Geometry(spacing=(4.0, 1.0, 1.0), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))  # y grows to the front
    mark, prediction = mark.transpose(1, 0, 2), prediction.transpose(1, 0, 2)
    axial = worst_slice(panel(prediction, mark, turned))
    rows = np.nonzero((axial.kinds == MISSED).any(axis=1))[0]
    assert rows.max() < len(axial.kinds) / 2


def test_a_small_object_is_shown_large_and_a_large_one_whole() -> None:
    small, large = cube((200, 200), (90, 40), 20)[None], cube((200, 200), (20, 20), 160)[None]
    assert worst_slice(panel(small, small, PICTURE)).kinds.shape == (36, 36)
    assert worst_slice(panel(large, large, PICTURE)).kinds.shape == (200, 200)


def test_an_object_at_the_edge_is_shown_in_full() -> None:
    corner = cube((200, 200), (180, 0), 20)[None]
    assert (worst_slice(panel(corner, corner, PICTURE)).kinds == RIGHT).sum() == 400


def test_the_image_is_cut_like_the_masks() -> None:
    small = cube((1, 200, 200), (0, 90, 40), 20)
    image = np.random.default_rng(0).integers(0, 255, (3, 1, 200, 200), dtype=np.uint8)
    found = worst_slice(replace(panel(small, small, PICTURE), image=image, uncertainty=image[0] / 255))
    assert found.image is not None
    assert found.uncertainty is not None
    assert found.image.shape == (*found.kinds.shape, 3)
    np.testing.assert_allclose(found.image[..., 0], found.uncertainty, rtol=1e-6)


def test_an_image_of_another_size_is_left_out() -> None:
    mask = labels((5, 20, 20), 0)
    assert worst_slice(replace(panel(mask, mask), image=np.zeros((1, 5, 10, 10)))).image is None


@pytest.mark.parametrize("shape", [(1, 40, 60), (8, 40, 60), (30, 30, 2)])
@pytest.mark.parametrize("what", ["nothing", "gray", "color", "map", "broken"])
def test_a_sheet_is_drawn_whatever_is_missing(tmp_path: Path, shape: tuple[int, int, int], what: str) -> None:
    first = panel(labels(shape, 0), labels(shape, 1), PICTURE if shape[0] == 1 else UPRIGHT)
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if what == "gray":
        first = replace(first, image=noise[None])
    if what == "color":
        first = replace(first, image=(np.stack([noise] * 3) * 10).clip(0, 255).astype(np.uint8))
    if what == "map":
        first = replace(first, uncertainty=abs(noise))
    if what == "broken":
        first = replace(first, image=np.full((1, *shape), np.nan), uncertainty=np.zeros(shape))
    empty = np.zeros(shape)
    draw(tmp_path / "sheet.png", [first, panel(empty, empty, first.geometry)])
    with Image.open(tmp_path / "sheet.png") as picture:
        width, height = picture.size
        assert len(set(picture.convert("L").resize((64, 64)).getdata())) > 5
    assert 500 < width < 1300
    assert 300 < height < 2500
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_colors_of_a_sheet_are_those_of_its_errors(tmp_path: Path) -> None:
    full = np.ones((1, 40, 40))
    draw(tmp_path / "missed.png", [panel(full * 0, full, PICTURE)])
    draw(tmp_path / "extra.png", [panel(full, full * 0, PICTURE)])
    for name, strongest in (("missed.png", (0.84, 0.37, 0.0)), ("extra.png", (0.94, 0.89, 0.26))):
        with Image.open(tmp_path / name) as picture:
            center = picture.convert("RGB").getpixel((150, 150))
        np.testing.assert_allclose(np.array(center) / 255, np.array(strongest) * 0.85, atol=0.02)
