"""A file appears whole or not at all, and what stood in the way is one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from paucis.errors import PaucisError
from paucis.files import write, write_json, write_text


def _fails(error: BaseException) -> object:
    def save(draft: Path) -> None:
        draft.write_text("half")
        raise error

    return save


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.txt"
    write_text(path, "old")

    def save(draft: Path) -> None:
        draft.write_text("new")
        assert path.read_text() == "old"

    write(path, save)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_said_to_be_full_and_leaves_the_older_file(tmp_path: Path, number: int) -> None:
    path = tmp_path / "table.txt"
    path.write_text("old")
    with pytest.raises(PaucisError, match=r"table\.txt cannot be written, the disk is full: free space, or say more$"):
        write(path, _fails(OSError(number, os.strerror(number))), "say more")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PaucisError, match=r"file/x\.json cannot be written \((Not a directory|File exists)\)"):
        write_json(tmp_path / "file" / "x.json", {})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the caller")])
def test_what_is_no_fault_of_the_disk_is_passed_on_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write(tmp_path / "x", _fails(error))
    assert list(tmp_path.iterdir()) == []
