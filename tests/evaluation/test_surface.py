from __future__ import annotations

import medpy.metric.binary as medpy
import numpy as np
import pytest
from tests.evaluation.phantoms import blob, cube

from paucis.evaluation import surface as module
from paucis.evaluation.surface import diagonal, surface, surface_distances

SHAPES = [
    ((41, 30), (1.0, 1.0)),
    ((41, 30), (0.3, 2.7)),
    ((14, 31, 22), (1.0, 1.0, 1.0)),
    ((9, 31, 22), (10, 1.5, 1.4)),
]


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sparse", [0, 1 << 40], ids=["tree", "transform"])
def test_every_distance_equals_medpy(
    shape: tuple[int, ...], spacing: tuple[float, ...], seed: int, sparse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPARSE", sparse)
    prediction, reference = blob(shape, seed, 0.1 + 0.1 * seed), blob(shape, seed + 100)
    found = surface_distances(prediction, reference, spacing)
    assert found.hd95 == pytest.approx(medpy.hd95(prediction, reference, spacing), abs=1e-6)
    assert found.hd == pytest.approx(medpy.hd(prediction, reference, spacing), abs=1e-6)
    assert found.asd == pytest.approx(medpy.asd(prediction, reference, spacing), abs=1e-6)
    assert found.assd == pytest.approx(medpy.assd(prediction, reference, spacing), abs=1e-6)


def test_asd_is_directed_from_the_prediction_to_the_reference() -> None:
    reference = cube((40, 40), (5, 5), 10)
    prediction = reference | cube((40, 40), (30, 30), 3)
    outward, inward = (
        surface_distances(prediction, reference, (1.0, 1.0)),
        surface_distances(reference, prediction, (1.0, 1.0)),
    )
    assert inward.asd == 0
    assert outward.asd > 1
    assert outward.assd == inward.assd


def test_two_squares_shifted_by_two_give_the_distances_done_by_hand() -> None:
    """A 3x3 square has 8 surface pixels. Shifted by 2 along x its distances are 2, 1, 0 a row, but in the middle row,
    where the hollow center takes a pixel away: x = 0, 2 lie 2 and 0 from the other's left edge."""
    first, second = cube((9, 9), (3, 2), 3), cube((9, 9), (3, 4), 3)
    found = surface_distances(first, second, (1.0, 1.0))
    assert sorted(found.to_reference) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert found.asd == found.assd == 1.0
    assert (found.hd, found.hd95) == (2, 2)
    assert found.surface_dice(0) == 3 / 8
    assert found.surface_dice(1) == 5 / 8
    assert found.surface_dice(2) == 1


def test_spacing_turns_voxels_into_mm() -> None:
    first, second = cube((12, 12, 12), (2, 2, 2), 4), cube((12, 12, 12), (4, 2, 2), 4)
    assert surface_distances(first, second, (1.0, 1.0, 1.0)).hd == 2
    assert surface_distances(first, second, (5.0, 1.0, 1.0)).hd == pytest.approx(
        medpy.hd(first, second, (5.0, 1.0, 1.0))
    )
    assert surface_distances(first, second, (3.0, 3.0, 3.0)).hd == 6


def test_a_distance_of_exactly_the_tolerance_is_within_it() -> None:
    first, second = cube((9, 9), (3, 2), 3), cube((9, 9), (3, 5), 3)
    for step in (0.1, 0.7, 1 / 3):
        assert surface_distances(first, second, (step, step)).surface_dice(3 * step) == 1


def test_equal_masks_have_no_distance_and_one_voxel_is_enough() -> None:
    dot = cube((5, 5, 5), (2, 2, 2), 1)
    found = surface_distances(dot, dot, (1.0, 1.0, 1.0))
    assert (found.hd, found.hd95, found.asd, found.assd, found.surface_dice(0)) == (0, 0, 0, 0, 1)


def test_a_mask_that_fills_the_image_has_its_surface_at_the_edge() -> None:
    full = np.ones((4, 4), dtype=bool)
    assert surface(full).sum() == 12


def test_a_cut_along_ignored_voxels_is_no_surface() -> None:
    mask, ignored = cube((9, 9), (2, 2), 5), np.zeros((9, 9), dtype=bool)
    ignored[2:7, 4:] = True
    edge = surface(mask & ~ignored, ignored)
    assert edge[:, 3].sum() == 2  # its upper and lower end; the cut between them is none
    assert surface(mask & ~ignored)[:, 3].sum() == 5


def test_a_mask_walled_in_by_ignored_voxels_still_has_a_surface() -> None:
    mask = cube((9, 9), (4, 4), 1)
    other = mask | cube((9, 9), (1, 1), 1)
    assert surface_distances(mask, other, (1.0, 1.0), ~other).hd > 0


def test_an_empty_mask_is_refused() -> None:
    dot = cube((5, 5), (2, 2), 1)
    with pytest.raises(ValueError, match="empty"):
        surface_distances(dot, np.zeros_like(dot), (1.0, 1.0))


def test_the_diagonal_is_that_of_the_image_in_mm() -> None:
    assert diagonal((3, 4), (2.0, 2.0)) == 10
