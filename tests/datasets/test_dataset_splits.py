"""Rules of splits: what they give, and on what they depend."""

from __future__ import annotations

import pytest

from paucis.datasets.splits import Member, needs_all, positions, split
from paucis.errors import PaucisError


def members(*names: str, role: str | None = None) -> list[Member]:
    return [Member(name, name.split("_")[0], role) for name in names]


TEN = members(*(f"case{number}" for number in range(1, 11)))


def test_positions_count_in_the_natural_order_of_names() -> None:
    folds = split({"positions": [{"train": "2,0-1", "test": "9"}]}, TEN[::-1])
    assert folds == [{"train": ["case3", "case1", "case2"], "val": [], "test": ["case10"]}]


def test_ranges_and_lists_are_read_in_their_order() -> None:
    assert positions("80,81,79,83-85") == [80, 81, 79, 83, 84, 85]
    assert positions("99 38\n 50") == [99, 38, 50]
    assert positions(7) == [7]


def test_patients_are_taken_with_all_their_scans_in_the_order_of_the_list() -> None:
    scans = members("patient001_b", "patient038_a", "patient038_b", "patient001_a", "patient099_a")
    (fold,) = split({"patients": {"train": "99 1", "test": "38 5"}}, scans)
    assert fold["train"] == ["patient099_a", "patient001_a", "patient001_b"]
    assert fold["test"] == ["patient038_a", "patient038_b"]


def test_numbers_make_several_folds() -> None:
    folds = split({"numbers": [{"train": "1-8", "test": "9-10"}, {"train": "3-10", "test": "1-2"}]}, TEN)
    assert [fold["test"] for fold in folds] == [["case9", "case10"], ["case1", "case2"]]


def test_roles_are_the_publishers() -> None:
    scans = members("b", "a", role="train") + members("c", role="test")
    assert split({"roles": True}, scans) == [{"train": ["a", "b"], "val": [], "test": ["c"]}]


def test_a_hashed_split_has_the_sizes_asked_for_and_does_not_follow_the_names() -> None:
    rule = {"hashed": {"train": 7, "test": 3}}
    (fold,) = split(rule, TEN)
    assert (len(fold["train"]), len(fold["test"])) == (7, 3)
    assert set(fold["train"]) | set(fold["test"]) == {member.name for member in TEN}
    assert fold["train"] != [member.name for member in TEN][:7]
    assert split(rule, TEN[::-1]) == [fold]
    assert fold["train"][:2] == ["case8", "case10"]  # their digests begin with 1174 and 122e, the smallest of the ten


def test_folds_are_those_of_scikit_learn() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    kfold = model_selection.KFold(n_splits=3, shuffle=True, random_state=12345)
    names = [member.name for member in TEN]
    expected = [
        {"train": [names[place] for place in train], "val": [names[place] for place in val]}
        for train, val in kfold.split(names)
    ]
    assert split({"folds": {"count": 3, "seed": 12345}}, TEN) == expected


def test_folds_keep_the_scans_of_a_patient_together() -> None:
    scans = members(*(f"{patient}_{scan}" for patient in "abcdef" for scan in range(3)))
    for fold in split({"folds": {"count": 4, "seed": 12345}}, scans):
        parts = [{name[0] for name in fold[role]} for role in ("train", "val")]
        assert not parts[0] & parts[1]
        assert len(fold["train"]) + len(fold["val"]) == 18


def test_folds_validate_each_scan_once() -> None:
    folds = split({"folds": {"count": 4, "seed": 1}}, TEN)
    held = [name for fold in folds for name in fold["val"]]
    assert sorted(held) == sorted(member.name for member in TEN)
    assert [len(fold["val"]) for fold in folds] == [3, 3, 2, 2]
    assert all(not set(fold["train"]) & set(fold["val"]) for fold in folds)


def test_rules_that_count_need_every_scan_and_rules_that_name_do_not() -> None:
    assert needs_all({"positions": []})
    assert needs_all({"hashed": {}})
    assert needs_all({"folds": {}})
    assert not needs_all({"patients": {}})
    assert not needs_all({"roles": True})


def test_what_tests_without_validating_holds_nothing_else_out() -> None:
    assert split({"patients": {"train": "1-3", "test": "4"}}, TEN)[0]["val"] == []
    assert "val" not in split({"patients": {"train": "1-3", "test": "11"}}, TEN)[0]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(PaucisError, match="no rule of a split"):
        split({"random": {}}, TEN)
