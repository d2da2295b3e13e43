"""Labels of whole images: what a table may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from paucis.data.image_labels import read_image_labels
from paucis.errors import PaucisError


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_one_column_holds_classes_in_any_words(tmp_path: Path) -> None:
    found = read_image_labels(table(tmp_path, "image,level\na.png,2\nb.nii.gz,0\nc_0000.nii.gz,2\nd.e,mild\n"))
    assert found.classes == ("0", "2", "mild")
    assert found.rows == {"a": (1,), "b": (0,), "c": (1,), "d.e": (2,)}
    assert not found.several
    assert found.problems(["a", "b"]) == []


def test_several_columns_hold_zeros_and_ones(tmp_path: Path) -> None:
    found = read_image_labels(table(tmp_path, "file\tedema\tmass\na.png\t1\t0\n\nb.png\t1.0\t1\n", "labels.tsv"))
    assert (found.classes, found.several) == (("edema", "mass"), True)
    assert found.rows == {"a": (1, 0), "b": (1, 1)}
    assert found.problems(["a", "b"]) == []
    assert "of one class" in found.problems(["a"])[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["case_1", "case_3"], "no row for 1 of 2 images, such as 'case_3': .* did you mean 'case_2'"),
        (["case_1", "case_2", "else"], "no row for 1 of 3 images, such as 'else': add them, or name another table$"),
        (["x", "y"], "its rows, such as 'case_1', name none of the 2 images, such as 'x'"),
        (["case_1", "case_2"], "all 2 images are of one class"),
    ],
)
def test_images_that_it_cannot_tell_apart_are_named_in_one_line(names: list[str], said: str, tmp_path: Path) -> None:
    found = read_image_labels(table(tmp_path, "name,class\ncase_1,a\ncase_2,a\nother,b\n"))
    (line,) = found.problems(names)
    assert "\n" not in line
    with pytest.raises(PaucisError, match=said):
        raise PaucisError(line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no table of labels"),
        ("name\na\n", "is no table of labels"),
        ("name,class\na,1\na.png,2\n", "row 3: 'a' is there twice"),
        ("name,class\na,\n", "row 2: needs a file name and 1 further entries"),
        ("name,class\na,1,2\n", "row 2: needs a file name and 1 further entries"),
        ("name,x,y\na,1,2\n", "row 2: '2' is neither 0 nor 1"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match=said) as refused:
        read_image_labels(table(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="cannot be read"):
        read_image_labels(tmp_path / "none.csv")
