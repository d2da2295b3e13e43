"""Slices to leaf through: which ones, from where, the right way up."""

from __future__ import annotations

import numpy as np
import pytest

from paucis.data.case import Geometry
from paucis.evaluation.pictures.stacks import stack_of

THICK = Geometry(spacing=(5.0, 1.0, 1.0))


def scan(slices: int = 12) -> np.ndarray:
    """A reference whose object lies in slices 3 to 8, rows 10 to 19, columns 20 to 24."""
    mask = np.zeros((slices, 40, 60), np.uint8)
    mask[3:9, 10:20, 20:25] = 1
    return mask


def test_slices_reach_from_the_first_with_an_object_to_the_last_and_hold_the_most_wrong_one() -> None:
    reference = scan()
    prediction = reference.copy()
    prediction[7, 10:18] = 0
    stack = stack_of([prediction], reference, THICK, most=24)
    assert stack.places == (3, 4, 5, 6, 7, 8)
    assert stack.places[stack.first] == 7
    assert stack.count == 12
    for most in (1, 2, 3, 4):
        few = stack_of([prediction], reference, THICK, most=most)
        assert len(few.places) == most
        assert few.places[few.first] == 7
        assert list(few.places) == sorted(set(few.places))


def test_what_is_cut_is_the_same_part_of_every_array_with_all_objects_in_it() -> None:
    reference = scan()
    other = np.zeros_like(reference)
    other[5, 12:14, 28:31] = 1
    stack = stack_of([reference, other], reference, THICK, most=24)
    rows, columns = stack.part
    assert rows.start <= 10
    assert rows.stop >= 20
    assert columns.start <= 20
    assert columns.stop >= 31
    assert stack.cut(reference).sum() == reference.sum()
    assert stack.cut(other).sum() == other.sum()
    image = np.random.default_rng(0).normal(size=(3, *reference.shape))
    np.testing.assert_array_equal(stack.cut(image)[1, 2], image[1, 5, rows, columns])


@pytest.mark.parametrize("flipped", [False, True])
def test_numbers_count_the_slices_of_the_file(flipped: bool) -> None:
    direction = (1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0 if flipped else 1.0)
    reference = scan()
    stack = stack_of([reference], reference, Geometry(spacing=(5.0, 1.0, 1.0), direction=direction), most=24)
    assert sorted(stack.numbers) == [4, 5, 6, 7, 8, 9]
    marked = np.arange(12)[:, None, None] * np.ones_like(reference)
    assert [int(one.flat[0]) + 1 for one in stack.cut(marked)] == list(stack.numbers)


def test_slices_run_along_the_coarsest_axis_and_pixels_keep_their_shape() -> None:
    reference = np.moveaxis(scan(), 0, 2).copy()
    stack = stack_of([reference], reference, Geometry(spacing=(2.0, 1.0, 5.0)), most=24)
    assert stack.count == 12
    assert stack.aspect == 2.0
    assert len(stack.places) == 6


def test_a_case_without_any_object_shows_all_of_some_slices() -> None:
    nothing = np.zeros((7, 20, 30), np.uint8)
    stack = stack_of([nothing], nothing, THICK, most=3)
    assert len(stack.places) == 3
    assert stack.cut(nothing).shape == (3, 20, 30)
    unknown = np.full((7, 20, 30), 255, np.uint8)
    assert len(stack_of([nothing], unknown, THICK, most=3).places) == 3
