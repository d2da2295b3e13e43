from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paucis.errors import PaucisError
from paucis.evaluation.reliability.cases import EVERY, around, measure, regions
from paucis.evaluation.reliability.structures import Checked, Structure, agreement, read_structures
from paucis.evaluation.review import rank


def structure(case: str, score: float, low: float = 0.0, high: float = 1.0, entropy: float = 0.5) -> Structure:
    figures = {"volume": 0.5, "volume_low": low, "volume_high": high, "score": score}
    return Structure(case, "k", "ml", {**figures, "mean_confidence": 1 - entropy, "mean_entropy": entropy})


def test_agreement_is_that_of_scipy_and_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    scores, dice = rng.random((2, 12))
    found = agreement(
        [Checked(structure(str(i), s), d, 0.5) for i, (s, d) in enumerate(zip(scores, dice, strict=True))]
    )
    assert found["spearman"] == pytest.approx(stats.spearmanr(scores, dice).statistic)
    order = np.argsort(-scores)
    assert found["aurc"] == pytest.approx(np.mean([(1 - dice[order[:k]]).mean() for k in range(1, 13)]))
    assert found["aurc_least"] <= found["aurc"]
    assert found["risk"] == pytest.approx((1 - dice).mean())


def test_a_volume_lies_in_its_interval_or_not() -> None:
    checked = [Checked(structure("a", 0.5, 1, 2), 0.5, volume) for volume in (0.9, 1.0, 2.0, 2.1)]
    assert [one.inside for one in checked] == [False, True, True, False]
    assert agreement(checked)["inside"] == 0.5
    assert agreement([Checked(structure("a", 0.5, math.nan), math.nan, 1)])["inside"] is None


def test_a_case_is_ranked_by_its_worst_structure_and_without_a_figure_last() -> None:
    one = [structure("a", 0.9), structure("a", 0.2), structure("b", 0.5), structure("c", math.nan)]
    assert [each.structure.case for each in rank(one, "score")] == ["a", "b", "c"]
    assert rank(one, "score")[0].figure == 0.2
    wide = [structure("a", 0.9, 1, 2), structure("b", 0.1, 1.9, 2)]
    assert [each.structure.case for each in rank(wide, "interval")] == ["a", "b"]
    unsure = [structure("a", 0.9, entropy=0.1), structure("b", 0.9, entropy=0.7)]
    assert rank(unsure, "entropy")[0].structure.case == rank(unsure, "confidence")[0].structure.case == "b"
    with pytest.raises(PaucisError, match="did you mean"):
        rank(one, "scor")


def test_the_table_of_another_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case,class,dice\na,k,0.5\n")
    with pytest.raises(PaucisError, match="no column score"):
        read_structures(tmp_path)
    (tmp_path / "cases.csv").write_text("case,class,volume_ml,score\na,k,much,0.5\n")
    with pytest.raises(PaucisError, match="figure that is none"):
        read_structures(tmp_path)


def test_the_box_holds_both_masks_and_a_margin() -> None:
    prediction, reference = np.zeros((2, 30, 40), int)
    prediction[10:20, 5:25], reference[12:22, 8:28] = 1, 1
    places = regions(prediction[None], reference[None], np.ones((1, 30, 40), bool))
    assert around((prediction + reference > 0)[None]) == (slice(0, 3), slice(8, 24), slice(2, 31))
    assert places["box"].sum() == 16 * 29
    assert places["foreground"].sum() == ((prediction + reference) > 0).sum()
    assert places["all"].all()
    empty = regions(prediction[None] * 0, reference[None] * 0, np.ones((1, 30, 40), bool))
    assert not empty["box"].any()


def test_voxels_that_do_not_count_are_in_no_sum() -> None:
    prediction, reference = np.array([[[0, 1, 1, 0]]]), np.array([[[0, 1, 255, 1]]])
    sure = np.array([[[0.9, 0.8, 0.6, 0.7]]])
    p = [1 - np.array([[[0.1, 0.8, 0.6, 0.3]]]), np.array([[[0.1, 0.8, 0.6, 0.3]]])]
    sums = measure(
        prediction, reference, ("b", "k"), lambda: sure, [lambda: p[0], lambda: p[1]], {"confidence": lambda: sure}
    )["all"]
    assert (sums.voxels, sums.wrong) == (3, 1)
    squares = 0.1**2 + 0.2**2 + 0.7**2
    assert sums.calibration(EVERY)["brier"] == pytest.approx(2 * squares / 3)
    assert sums.calibration("k")["brier"] == pytest.approx(squares / 3)
    assert sums.detection()["auroc:confidence"] == 1
