"""Contact sheets: where points lie in tiles, and how many sheets there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paucis.data.case import Geometry, Volume
from paucis.evaluation.landmarks import sheet as landmark_sheet
from paucis.evaluation.landmarks.sheet import Sheets, tiles_of


def test_a_picture_is_one_tile_with_all_points_where_they_are() -> None:
    image = np.zeros((1, 1, 40, 50), np.uint8)
    image[0, 0, 12, 34] = 255
    volume = Volume(image, Geometry(physical=False, dims=2))
    (tile,) = tiles_of("a", volume, {"p": (0, 12, 34)}, {"p": (0, 1, 2)}, ["p"], {"p": 1.25})
    assert (tile.title, tile.note) == ("a", "1.250")
    assert [(mark.place, mark.true) for mark in tile.marks] == [((1, 2), True), ((12, 34), False)]
    assert tile.image[12, 34] == tile.image.max() > 0


def test_a_large_picture_is_thinned_and_its_points_with_it() -> None:
    image = np.zeros((3, 1, 1000, 800), np.uint8)
    (tile,) = tiles_of("a", Volume(image, Geometry(physical=False, dims=2)), {"p": (0, 400, 200)}, {}, ["p"], {})
    assert tile.image.shape == (250, 200, 3)
    assert tile.marks[0].place == (100, 50)


@pytest.mark.parametrize("direction", [(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, -1.0)])
def test_a_volume_has_a_tile_for_each_point_at_its_slice(direction: tuple[float, ...]) -> None:
    array = np.zeros((1, 6, 20, 24), np.float32)
    array[0, 4, 5, 7] = 1.0
    volume = Volume(array, Geometry(spacing=(4.0, 1.0, 1.0), direction=direction))
    tiles = tiles_of("a", volume, {"p": (4, 5, 7), "q": (1, 1, 1)}, {"p": (3, 0, 0)}, ["p", "q"], {"p": 2.0})
    assert [tile.note for tile in tiles] == ["p, slice 5 of 6, true 4, 2.000", "q, slice 2 of 6"]
    true, mark = tiles[0].marks
    assert (true.true, mark.true) == (True, False)
    y, x = (round(value) for value in mark.place)
    assert tiles[0].image[y, x] == tiles[0].image.max() > 0


def test_sheets_are_written_when_they_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_sheet, "PER_SHEET", 3)
    sheets = Sheets(tmp_path / "s.png", ["p"], known=True)
    volume = Volume(np.random.default_rng(0).random((1, 1, 8, 8)), Geometry(physical=False, dims=2))
    for index in range(4):
        sheets.add(tiles_of(f"case {index}", volume, {"p": (0, 1, 2)}, {"p": (0, 4, 4)}, ["p"], {}))
        assert len(sheets.written) == (index >= 2)
    sheets.finish()
    assert [path.name for path in sheets.written] == ["s.png", "s_2.png"]
    assert all(Image.open(path).size[0] > 100 for path in sheets.written)
