from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paucis.errors import PaucisError
from paucis.evaluation.masks.values import UNKNOWN, class_values, to_classes, values_in

A, B = Path("a.png"), Path("b.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_the_values_of_a_mask_are_found(dtype: type[np.integer]) -> None:
    assert values_in(np.array([[0, 7], [7, 3]], dtype=dtype)) == {0, 3, 7}
    assert values_in(np.array([-1, 2], dtype=np.int32)) == {-1, 2}


@pytest.mark.parametrize(
    ("found", "known", "expected"),
    [
        ([{0, 255}, {0}], (), (0, 255)),
        ([{0, 255}], (0, 1), (0, 255)),
        ([{0, 1}], (0, 255), (0, 1)),
        ([{0}], (0, 255), (0, 255)),
        ([{0}], (), (0, 1)),
        ([{0, 1}, {0, 2}], (), (0, 1, 2)),
        ([{0, 1, 2, 255}], (), (0, 1, 2)),
        ([{0, 1, 255}], (), (0, 1)),
        ([{0, 85, 170, 255}], (), (0, 85, 170, 255)),
        ([{0, 1}], (0, 1, 2, 4), (0, 1, 2, 4)),
        ([{0, 1, 255}], (0, 1, 2), (0, 1, 2)),
        ([{255}], (), (0, 255)),
    ],
)
def test_raw_values_become_classes(found: list[set[int]], known: tuple[int, ...], expected: tuple[int, ...]) -> None:
    files = {Path(str(number)): values for number, values in enumerate(found)}
    assert class_values(files, known, labels=True) == expected


def test_a_value_that_is_no_class_names_its_file() -> None:
    with pytest.raises(PaucisError, match=r"b\.png holds the value 7.*classes: 0, 1, 2"):
        class_values({A: {0, 1}, B: {0, 7}}, (0, 1, 2), labels=True)
    with pytest.raises(PaucisError, match=r"a\.png holds the value 255"):
        class_values({A: {0, 1, 255}}, (0, 1, 2), labels=False)


def test_labels_of_background_and_255_are_not_taken_for_unknown_altogether() -> None:
    assert class_values({A: {0, 255}}, (0, 1, 2), labels=True) == (0, 255)


def test_raw_values_are_mapped_to_indices_and_unknown_ones_marked() -> None:
    raw = np.array([[0, 4, 2], [255, 1, 4]], dtype=np.int16)
    mapped = to_classes(raw, (0, 1, 2, 4), A, frozenset({255}))
    assert mapped.tolist() == [[0, 3, 2], [UNKNOWN, 1, 3]]
    assert mapped.dtype == np.uint8
    assert to_classes(np.array([0, 255]), (0, 255), A).tolist() == [0, 1]
    assert to_classes(np.array([-5, 0, 9]), (0, 9), A, frozenset({-5})).tolist() == [UNKNOWN, 0, 1]


def test_mapping_refuses_what_is_no_class() -> None:
    with pytest.raises(PaucisError, match=r"a\.png holds the value 3"):
        to_classes(np.array([0, 1, 3]), (0, 1), A)
    with pytest.raises(PaucisError, match="value 255"):
        to_classes(np.array([0, 1, 255]), (0, 1), A)
