from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.phantoms import cube

from paucis.data.case import Geometry
from paucis.data.formats import write_map, write_mask
from paucis.evaluation.pictures.changes import COLUMNS, Change, changed, draw_changes
from paucis.evaluation.pictures.slices import MISSED, Panel
from paucis.workflows.evaluate import evaluate

SHAPE = (6, 30, 30)
GEOMETRY = Geometry(spacing=(3.0, 1.0, 1.0))


def change() -> Change:
    reference = cube(SHAPE, (0, 10, 10), 6).astype(np.uint8)
    prediction = reference.copy()
    prediction[4, 10:13, 10:16] = 0
    before = np.broadcast_to(np.arange(6.0)[:, None, None] / 10, SHAPE).astype(np.float32)
    panel = Panel("a case", prediction, reference, GEOMETRY, np.random.default_rng(0).random((1, *SHAPE)))
    return Change(panel, before, before / 2)


def test_both_maps_are_those_of_the_slice_with_the_most_errors() -> None:
    one, before, after = changed(change())
    assert one.index == 4
    assert (one.kinds == MISSED).sum() == 18
    assert np.allclose(before, 0.4)
    assert np.allclose(after, 0.2)
    assert before.shape == after.shape == one.kinds.shape


def colors(path: Path, column: int) -> set[tuple[int, ...]]:
    picture = np.asarray(Image.open(path).convert("RGB"))
    wide = picture.shape[1] // len(COLUMNS)
    part = picture[picture.shape[0] // 2 : -20, column * wide + wide // 4 : column * wide + wide // 2]
    return {tuple(color) for color in part.reshape(-1, 3)}


def test_less_uncertainty_is_blue_more_is_red_and_none_is_black(tmp_path: Path) -> None:
    given = change()
    draw_changes(tmp_path / "less.png", [given])
    draw_changes(tmp_path / "more.png", [Change(given.panel, given.after, given.before)])
    draw_changes(tmp_path / "none.png", [Change(given.panel, 0 * given.before, given.before)])
    (less,), (more,) = (colors(tmp_path / f"{name}.png", 3) for name in ("less", "more"))
    assert less[2] > less[0]
    assert more[0] > more[2]
    assert colors(tmp_path / "none.png", 1) == {(0, 0, 3)}  # magma's lowest
    assert colors(tmp_path / "less.png", 1) != colors(tmp_path / "less.png", 2)


def test_maps_of_another_size_and_no_case_are_errors(tmp_path: Path) -> None:
    given = change()
    with pytest.raises(ValueError, match="another size"):
        draw_changes(tmp_path / "a.png", [Change(given.panel, given.before[1:], given.after[1:])])
    with pytest.raises(ValueError, match="a case"):
        draw_changes(tmp_path / "a.png", [])


def test_an_evaluation_shows_them_where_the_predictions_have_both_maps(tmp_path: Path) -> None:
    given = change()
    write_mask(tmp_path / "labels" / "a.nii.gz", given.panel.reference, GEOMETRY)
    write_mask(tmp_path / "out" / "a.nii.gz", given.panel.prediction, GEOMETRY)
    for name in ("entropy", "uncertainty_before"):
        write_map(tmp_path / "out" / "maps" / f"a_{name}.nii.gz", given.before, GEOMETRY)
    assert not (evaluate(tmp_path / "out", tmp_path / "labels").out / "changes.png").exists()
    write_map(tmp_path / "out" / "maps" / "a_uncertainty_after.nii.gz", given.after, GEOMETRY)
    found = evaluate(tmp_path / "out", tmp_path / "labels")
    assert (found.out / "changes.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "out" / "maps" / "a_uncertainty_after.nii.gz").unlink()
    evaluate(tmp_path / "out", tmp_path / "labels")
    assert not (found.out / "changes.png").exists()
