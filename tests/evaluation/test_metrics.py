from __future__ import annotations

import math
from pathlib import Path

import medpy.metric.binary as medpy
import numpy as np
import pytest
from tests.evaluation.phantoms import cube, labels

from paucis.data.formats import read_label
from paucis.errors import PaucisError
from paucis.evaluation.metrics import DISTANCES, METRICS, case_metrics

CLASSES = ("background", "liver", "spleen")
SHAPE, SPACING = (8, 24, 20), (5.0, 1.5, 1.2)


def test_rows_of_a_volume_equal_medpy_class_by_class() -> None:
    prediction, reference = labels(SHAPE, 0), labels(SHAPE, 1)
    rows = case_metrics(prediction, reference, CLASSES, SPACING)
    assert [(row.label, row.name, row.state) for row in rows] == [(1, "liver", "found"), (2, "spleen", "found")]
    for row in rows:
        p, r = prediction == row.label, reference == row.label
        assert row.scores["dice"] == pytest.approx(medpy.dc(p, r), abs=1e-6)
        for metric in ("hd95", "asd", "assd", "hd"):
            assert row.scores[metric] == pytest.approx(getattr(medpy, metric)(p, r, SPACING), abs=1e-6)
        assert set(row.scores) == set(METRICS)


def test_the_literature_counts_in_voxels() -> None:
    prediction, reference = labels(SHAPE, 0), labels(SHAPE, 1)
    for row in case_metrics(prediction, reference, CLASSES, SPACING, convention="literature"):
        p, r = prediction == row.label, reference == row.label
        assert row.scores["hd95"] == pytest.approx(medpy.hd95(p, r), abs=1e-6)
        assert row.scores["asd"] == pytest.approx(medpy.asd(p, r), abs=1e-6)
        assert row.unit == "voxel"
        assert row.volume_prediction == p.sum()


def test_a_single_slice_is_measured_as_the_picture_it_is() -> None:
    prediction, reference = labels((30, 20), 0), labels((30, 20), 1)
    flat = case_metrics(prediction, reference, CLASSES, (2.0, 3.0), case="a")
    volume = case_metrics(prediction[None], reference[None], CLASSES, (1.0, 2.0, 3.0), case="a")
    assert [row.scores for row in flat] == [row.scores for row in volume]
    assert flat[0].scores["hd95"] == pytest.approx(medpy.hd95(prediction == 1, reference == 1, (2.0, 3.0)), abs=1e-6)


def test_volumes_are_milliliters_and_their_error_is_absolute_signed_and_relative() -> None:
    reference = cube((20, 20, 20), (2, 2, 2), 10).astype(np.uint8)
    prediction = cube((20, 20, 20), (2, 2, 2), 8).astype(np.uint8)
    (row,) = case_metrics(prediction, reference, ("background", "organ"), (2.0, 1.0, 1.0))
    assert (row.volume_reference, row.volume_prediction) == (2.0, pytest.approx(1.024))
    assert row.scores["volume_difference"] == pytest.approx(-0.976)
    assert row.scores["volume_error"] == pytest.approx(0.976)
    assert row.scores["relative_volume_error"] == pytest.approx(0.488)
    assert row.to_dict()["volume_unit"] == "mL"


def test_pictures_are_measured_in_pixels() -> None:
    mask = cube((20, 20), (2, 2), 10).astype(np.uint8)
    moved = cube((20, 20), (2, 5), 10).astype(np.uint8)
    (row,) = case_metrics(mask, moved, ("background", "lesion"), (0.1, 0.1), physical=False)
    assert (row.unit, row.scores["hd"], row.volume_reference) == ("pixel", 3.0, 100)
    stack = np.stack([mask, mask])
    (row,) = case_metrics(stack, stack, ("background", "lesion"), (9.0, 0.1, 0.1), physical=False)
    assert (row.unit, row.volume_reference) == ("voxel", 200)


def test_the_volume_of_a_single_slice_counts_its_thickness() -> None:
    mask = cube((1, 20, 20), (0, 2, 2), 10).astype(np.uint8)
    (row,) = case_metrics(mask, mask, ("background", "organ"), (10.0, 1.0, 1.0))
    assert row.volume_reference == 1.0


def _empty_cases(convention: str) -> dict[str, dict[str, float]]:
    found = {}
    organ, empty = cube((10, 20, 20), (2, 2, 2), 5).astype(np.uint8), np.zeros((10, 20, 20), dtype=np.uint8)
    for state, prediction, reference in (
        ("absent", empty, empty),
        ("missed", empty, organ),
        ("spurious", organ, empty),
    ):
        (row,) = case_metrics(prediction, reference, ("background", "organ"), (3.0, 1.0, 1.0), convention=convention)
        assert row.state == state
        found[state] = row.scores
    return found


def test_strict_leaves_out_what_is_rightly_absent() -> None:
    assert all(math.isnan(value) for value in _empty_cases("strict")["absent"].values())


@pytest.mark.parametrize("state", ["missed", "spurious"])
def test_strict_gives_a_missed_or_spurious_class_no_credit_and_the_diagonal(state: str) -> None:
    scores = _empty_cases("strict")[state]
    for metric in ("dice", "jaccard", "precision", "recall", "surface_dice"):
        assert scores[metric] == 0
    for metric in DISTANCES:
        assert scores[metric] == math.sqrt(30**2 + 20**2 + 20**2)
    assert scores["specificity"] == (1 if state == "missed" else pytest.approx(1 - 125 / 4000))
    assert scores["volume_error"] == 0.375


def test_relative_volume_error_is_one_when_missed_and_undefined_when_spurious() -> None:
    scores = _empty_cases("strict")
    assert scores["missed"]["relative_volume_error"] == 1
    assert math.isnan(scores["spurious"]["relative_volume_error"])


@pytest.mark.parametrize("state", ["absent", "missed", "spurious"])
def test_the_literature_gives_zeros_wherever_a_mask_is_empty(state: str) -> None:
    scores = _empty_cases("literature")[state]
    assert [scores[metric] for metric in ("dice", "jaccard", "hd95", "asd")] == [0, 0, 0, 0]


def test_ignored_voxels_change_nothing_whatever_the_prediction_says_there() -> None:
    reference, prediction = labels(SHAPE, 1), labels(SHAPE, 0)
    reference[:, 10:] = 255
    other = prediction.copy()
    other[:, 10:] = 2
    assert case_metrics(prediction, reference, CLASSES, SPACING) == case_metrics(other, reference, CLASSES, SPACING)


def test_a_perfect_prediction_beside_ignored_voxels_is_perfect() -> None:
    prediction = labels(SHAPE, 1)
    reference = prediction.copy()
    reference[3:] = 255
    for row in case_metrics(prediction, reference, CLASSES, SPACING):
        assert (row.scores["dice"], row.scores["hd"], row.scores["surface_dice"]) == (1, 0, 1)


def test_a_case_of_which_nothing_is_known_is_left_out() -> None:
    reference = np.full(SHAPE, 255, dtype=np.uint8)
    rows = case_metrics(labels(SHAPE, 0), reference, CLASSES, SPACING)
    assert {row.state for row in rows} == {"absent"}


def test_an_unknown_convention_is_refused_with_the_nearest_name() -> None:
    mask = np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(PaucisError, match="did you mean 'strict'"):
        case_metrics(mask, mask, CLASSES, (1.0, 1.0), convention="strickt")


@pytest.mark.realdata
def test_real_hippocampi_give_medpys_figures(real_data: Path) -> None:
    files = sorted((real_data / "hippocampus" / "labelsTr").glob("*.nii.gz"))[:4]
    masks = [read_label(file).array[0] for file in files]
    for reference in masks:
        prediction = np.roll(reference, (1, -2, 1), axis=(0, 1, 2))
        for row in case_metrics(prediction, reference, ("background", "anterior", "posterior"), (1.0, 0.8, 1.3)):
            p, r = prediction == row.label, reference == row.label
            for metric in ("hd95", "asd", "assd"):
                assert row.scores[metric] == pytest.approx(getattr(medpy, metric)(p, r, (1.0, 0.8, 1.3)), abs=1e-6)
            assert row.scores["dice"] == pytest.approx(medpy.dc(p, r), abs=1e-6)
            assert row.scores["jaccard"] == pytest.approx(medpy.jc(p, r), abs=1e-6)
