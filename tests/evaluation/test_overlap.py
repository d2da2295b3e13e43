from __future__ import annotations

import math

import medpy.metric.binary as medpy
import numpy as np
import pytest
from tests.evaluation.phantoms import labels

from paucis.evaluation import overlap as module
from paucis.evaluation.overlap import Overlap, overlaps


@pytest.mark.parametrize("shape", [(40, 31), (9, 30, 21)])
@pytest.mark.parametrize("seed", range(3))
def test_every_score_of_every_class_equals_medpy(shape: tuple[int, ...], seed: int) -> None:
    prediction, reference = labels(shape, seed, 4), labels(shape, seed + 10, 4)
    for label, found in enumerate(overlaps(prediction, reference, 4)):
        p, r = prediction == label, reference == label
        assert found.dice == pytest.approx(medpy.dc(p, r), abs=1e-12)
        assert found.jaccard == pytest.approx(medpy.jc(p, r), abs=1e-12)
        assert found.precision == pytest.approx(medpy.precision(p, r), abs=1e-12)
        assert found.recall == pytest.approx(medpy.recall(p, r), abs=1e-12)
        assert found.specificity == pytest.approx(medpy.specificity(p, r), abs=1e-12)
        assert found.accuracy == pytest.approx((p == r).mean(), abs=1e-12)


def test_the_scores_of_counts_done_by_hand() -> None:
    found = Overlap(both=6, predicted=8, reference=10, total=100)
    assert found.neither == 88
    assert (found.dice, found.jaccard, found.accuracy) == (12 / 18, 6 / 12, 94 / 100)
    assert (found.precision, found.recall, found.specificity) == (6 / 8, 6 / 10, 88 / 90)


def test_scores_without_a_denominator_are_undefined() -> None:
    empty, full = Overlap(0, 0, 0, 9), Overlap(9, 9, 9, 9)
    assert all(math.isnan(value) for value in (empty.dice, empty.jaccard, empty.precision, empty.recall))
    assert math.isnan(full.specificity)


def test_ignored_voxels_are_not_counted() -> None:
    prediction, reference = labels((20, 20), 0), labels((20, 20), 1)
    reference[5:9] = 255
    known = reference != 255
    assert overlaps(prediction, reference, 3, ignore=255) == overlaps(prediction[known], reference[known], 3)


def test_counting_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, reference = labels((17, 23), 0), labels((17, 23), 1)
    whole = overlaps(prediction, reference, 3)
    monkeypatch.setattr(module, "_CHUNK", 50)
    assert overlaps(prediction, reference, 3) == whole


def test_another_shape_and_unknown_values_are_refused() -> None:
    mask = np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match="shape"):
        overlaps(mask, mask[:2], 2)
    with pytest.raises(ValueError, match="prediction"):
        overlaps(mask + 2, mask, 2)
    with pytest.raises(ValueError, match="reference"):
        overlaps(mask, mask + 255, 2)
