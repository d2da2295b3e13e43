"""Points as people write them, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from paucis.errors import PaucisError
from paucis.workflows.landmark_points import COLUMNS, WRITTEN, places_in, read_points, read_table


def table(folder: Path, *lines: str) -> Path:
    path = folder / "points.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_points_have_names_or_numbers() -> None:
    found = read_points(["3,4", "heart=5.5,6", "tip = of it=1,2,3"])
    assert [(one.landmark, one.place, one.image) for one in found] == [
        ("1", (3.0, 4.0), None),
        ("heart", (5.5, 6.0), None),
        ("tip = of it", (1.0, 2.0, 3.0), None),
    ]


def test_a_table_names_images_by_case_or_file_and_volumes_have_z(tmp_path: Path) -> None:
    path = table(tmp_path, "Image,landmark,z,y,x", "a,heart,,1,2", "b.nii.gz,heart,3,4,5", "a.png,lung,,7,8")
    given = read_points([str(path)])
    assert places_in(given, "a", (1, 10, 10), 2) == {"heart": (0, 1, 2), "lung": (0, 7, 8)}
    assert places_in(given, "b", (9, 9, 9), 3) == {"heart": (3, 4, 5)}
    assert places_in(given, "c", (9, 9, 9), 3) == {}


def test_the_table_that_was_written_can_be_read(tmp_path: Path) -> None:
    columns = [name for name in (*COLUMNS, *WRITTEN) if not name.endswith("z")]
    cells = ["a", "heart", "1", "2", *["0"] * (len(columns) - 4)]
    (one,) = read_table(table(tmp_path, ",".join(columns), ",".join(cells)))
    assert (one.image, one.landmark, one.place) == ("a", "heart", (1.0, 2.0))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("image,landmark,y,x,colour", "a,b,1,2,red"), "unknown column 'colour'"),
        (("image,landmarks,y,x", "a,b,1,2"), "unknown column 'landmarks'; did you mean 'landmark'"),
        (("image,y,x", "a,1,2"), "has no column 'landmark'"),
        (("image,landmark,y,x",), "holds no point"),
        ((), "has no column 'landmark'"),
        (("image,landmark,y,x", "a,b,one,2"), "line 2: y='one' is no number"),
        (("image,landmark,y,x", "a,b,1,"), "line 2: x='' is no number"),
        (("image,landmark,y,x", "a,b,1"), "line 2: x='' is no number"),
        (("image,landmark,y,x", "a,b,1,2", ",b,1,2"), "line 3: 'image' is empty"),
        (("image,landmark,y,x", "a,b,1,2,3"), "more cells than there are columns"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(PaucisError) as raised:
        read_points([str(table(tmp_path, *lines))])
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--point is missing"),
        (["1"], "write Y,X or Z,Y,X"),
        (["1,2,3,4"], "write Y,X or Z,Y,X"),
        (["=1,2"], "write Y,X or Z,Y,X"),
        (["a,b"], "--point='a' is not a number"),
        (["none.csv"], "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_point_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(PaucisError) as raised:
        read_points(words)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("word", "dims", "said"),
    [
        ("10,3", 2, "lies outside a: Y,X run from 0 to 9,9"),
        ("-1,3", 2, "lies outside"),
        ("1,2,3", 2, "must be Y,X of a"),
        ("1,2", 3, "must be Z,Y,X of a"),
    ],
)
def test_a_point_must_lie_in_its_image(word: str, dims: int, said: str) -> None:
    with pytest.raises(PaucisError) as raised:
        places_in(read_points([word]), "a", (1 if dims == 2 else 5, 10, 10), dims)
    assert said in str(raised.value)
    twice = read_points(["a=1,2", "a=2,3"])
    with pytest.raises(PaucisError, match="given twice"):
        places_in(twice, "a", (1, 10, 10), 2)
