from __future__ import annotations

import json
from pathlib import Path

import pytest
from making_cases import dataset_of

from paucis.data.case import Case
from paucis.data.groups import group_of, regroup
from paucis.data.options import DataOptions
from paucis.data.split import Split, apply_split, make_split, training_part
from paucis.errors import PaucisError


def cases_of(labeled, unlabeled=0, *, frames=1, roles=None):
    """``labeled`` patients with ``frames`` scans each, then ``unlabeled`` ones."""
    return [
        Case(
            f"p{patient:02d}_f{frame}",
            (Path(f"p{patient:02d}_f{frame}.nii.gz"),),
            Path(f"m{patient}_{frame}.nii.gz") if patient < labeled else None,
            role=(roles or {}).get(f"p{patient:02d}_f{frame}"),
        )
        for patient in range(labeled + unlabeled)
        for frame in range(frames)
    ]


PATIENT = r"(p\d+)"


def split_of(cases, labels=None, seed=0, shipped=(), need_labels=True, **options):
    return make_split(dataset_of(cases, split=shipped), DataOptions(**options), labels, seed, need_labels=need_labels)


def everyone(split):
    return (*split.labeled, *split.unlabeled, *split.val, *split.test)


def test_every_case_has_exactly_one_role():
    split = split_of(cases_of(10, 5), "3", test=0.2)
    assert len(split.labeled) == 3
    assert len(split.val) == 2
    assert len(split.test) == 2
    assert sorted(everyone(split)) == [case.name for case in cases_of(10, 5)]


def test_the_validation_part_does_not_depend_on_the_training_seed_but_on_its_own():
    cases = cases_of(20)
    assert split_of(cases, "3", seed=1, order="seed").val == split_of(cases, "5", seed=2, order="seed").val
    assert split_of(cases, "3", split_seed=1).val != split_of(cases, "3").val


def test_list_order_takes_the_first_and_seed_order_draws():
    cases = cases_of(20)
    ordered = split_of(cases, "4")
    assert list(ordered.labeled) == [case.name for case in cases if case.name not in ordered.val][:4]
    drawn = {split_of(cases, "4", seed=seed, order="seed").labeled for seed in range(5)}
    assert len(drawn) > 1


def test_a_smaller_budget_is_part_of_a_larger_one():
    cases = cases_of(20)
    for order in ("list", "seed"):
        small, large = (set(split_of(cases, labels, order=order).labeled) for labels in ("3", "8"))
        assert small < large


def test_no_patient_has_two_roles():
    for seed in range(5):
        split = split_of(cases_of(9, 4, frames=3), "4", group=PATIENT, split_seed=seed, test=0.2)
        parts = [{name[:3] for name in names} for names in (split.train, split.val, split.test)]
        assert parts[0] & parts[1] == parts[0] & parts[2] == parts[1] & parts[2] == set()
        assert len(split.labeled) == 4 * 3


def test_unlabeled_scans_of_a_validation_patient_are_not_trained_on():
    cases = [*cases_of(8), *(Case(f"p{i:02d}_x", (Path("x.nii"),)) for i in range(8))]
    split = split_of(cases, group=PATIENT)
    held = {name[:3] for name in split.val}
    assert held
    assert not held & {name[:3] for name in split.train}
    assert all("_x" not in name for name in split.val)


def test_a_percentage_is_of_the_labeled_groups_left_for_training():
    shipped = ({"train": tuple(c.name for c in cases_of(70, frames=2)), "val": ()},)
    split = split_of(cases_of(70, frames=2), "10%", shipped=shipped, group=PATIENT)
    assert len(split.labeled) == 14
    assert {name[:3] for name in split.labeled} == {f"p{i:02d}" for i in range(7)}


def test_a_list_file_names_the_labeled_cases_and_keeps_them_out_of_validation(tmp_path):
    listed = tmp_path / "mine.txt"
    listed.write_text("# chosen by hand\np03_f0\n\np01_f0\n")
    for seed in range(6):
        split = split_of(cases_of(6), str(listed), split_seed=seed)
        assert split.labeled == ("p01_f0", "p03_f0")
        assert len(split.val) == 1
        assert len(split.unlabeled) == 3


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("99", "10 cases"),
        ("0", "no labeled case is left"),
        ("101%", "at most 100%"),
        ("0%", "above 0%"),
        ("x%", "10%"),
        ("some", "neither a count"),
        ("-3", "neither a count"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_in_one_line(labels, words):
    with pytest.raises(PaucisError, match=words) as caught:
        split_of(cases_of(10), labels)
    assert "\n" not in str(caught.value)


def test_a_list_file_with_a_wrong_name_suggests_the_right_one(tmp_path):
    listed = tmp_path / "mine.txt"
    listed.write_text("p03-f0\n")
    with pytest.raises(PaucisError, match=r"mine\.txt: 'p03-f0'.*did you mean 'p03_f0'"):
        split_of(cases_of(6), str(listed))
    listed.write_text("p03_f0\n")
    with pytest.raises(PaucisError, match="'p03_f0' is held out"):
        split_of(cases_of(6), str(listed), shipped=({"train": ("p00_f0",), "val": ("p03_f0",)},))
    listed.write_text("p07_f0\n")
    with pytest.raises(PaucisError, match="'p07_f0' has no label"):
        split_of(cases_of(6, 3), str(listed))


def test_validation_shrinks_before_labels_are_refused():
    cases = cases_of(10)
    assert [len(split_of(cases, labels).val) for labels in ("8", "9", "10")] == [2, 1, 0]
    assert len(split_of(cases, "10").labeled) == 10


def test_one_group_validates_from_three_on():
    assert [len(split_of(cases_of(n)).val) for n in (1, 2, 3)] == [0, 0, 1]
    assert split_of(cases_of(3), validation=0.0).val == ()


def test_without_any_label_only_those_who_need_none_go_on():
    with pytest.raises(PaucisError, match="no case has a label"):
        split_of(cases_of(0, 4))
    split = split_of(cases_of(0, 4), need_labels=False)
    assert split.labeled == ()
    assert len(split.unlabeled) == 4


def test_folds_cover_every_labeled_case_once():
    cases = cases_of(10, 3, frames=2)
    splits = [split_of(cases, folds=5, fold=fold, group=PATIENT) for fold in range(5)]
    seen = [name for split in splits for name in split.val]
    assert sorted(seen) == sorted(case.name for case in cases if case.label)
    for split in splits:
        assert len(everyone(split)) == len(set(everyone(split))) == len(cases)


@pytest.mark.parametrize(("folds", "fold", "words"), [(1, 0, "between 2 and 6"), (7, 0, "between 2"), (3, 3, "0 to 2")])
def test_folds_that_do_not_exist_are_refused(folds, fold, words):
    with pytest.raises(PaucisError, match=words):
        split_of(cases_of(6), folds=folds, fold=fold)


def test_the_shipped_split_decides_and_keeps_its_order():
    names = ("p04_f0", "p01_f0", "p02_f0")
    split = split_of(cases_of(6, 2), "2", shipped=({"train": names, "val": ("p00_f0",)},))
    assert split == Split(("p04_f0", "p01_f0"), ("p02_f0", "p06_f0", "p07_f0"), ("p00_f0",))


def test_a_fold_of_the_shipped_split_is_chosen_by_number():
    shipped = tuple({"train": tuple(f"p0{i}_f0" for i in range(3) if i != k), "val": (f"p0{k}_f0",)} for k in range(3))
    assert split_of(cases_of(3), shipped=shipped, fold=2).val == ("p02_f0",)
    with pytest.raises(PaucisError, match="folds 0 to 2"):
        split_of(cases_of(3), shipped=shipped, fold=3)


def test_roles_of_the_cases_are_kept():
    roles = {"p00_f0": "val", "p01_f0": "test", "p05_f0": "test"}
    split = split_of(cases_of(5, 2, roles=roles))
    assert split.val == ("p00_f0",)
    assert split.test == ("p01_f0", "p05_f0")
    assert split.unlabeled == ("p06_f0",)


def test_a_split_file_is_read_with_its_parts(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"train": ["p05_f0", "p01_f0"], "val": ["p02_f0"], "test": ["p03_f0"]}))
    assert split_of(cases_of(6), "1", split=str(path)) == Split(("p05_f0",), ("p01_f0",), ("p02_f0",), ("p03_f0",))


def test_a_saved_split_is_handed_over_as_it_was_and_its_budget_may_change(tmp_path):
    cases = cases_of(10, 2)
    first = split_of(cases, "3", order="seed", seed=4)
    first.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == first
    assert split_of(cases, split=str(tmp_path)) == first
    more = split_of(cases, "5", split=str(tmp_path / "split.json"))
    assert set(first.labeled) < set(more.labeled)
    assert more.val == first.val


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ('{"train": ["p00_f0", "p99_f0"]}', "'p99_f0' is not a case"),
        ('{"train": ["p00_f0"], "valid": []}', "unknown part 'valid'; did you mean 'val'"),
        ('{"val": []}', "'train' is missing"),
        ('{"train": "p00_f0"}', "must be a list"),
        ('{"train": ["p00_f0", "p00_f0"]}', "listed twice"),
        ('{"train": ["p00_f0"], "val": ["p00_f1"]}', "patient 'p00' is in both train and val"),
        ('{"train": ["p00_f0"], "val": ["p03_f0"]}', "'p03_f0' has no label"),
        ("[]", "has folds"),
        ("3", "holds no split"),
    ],
)
def test_a_split_file_that_cannot_be_is_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(PaucisError, match=words) as caught:
        split_of(cases_of(3, 1, frames=2), split=str(path), group=PATIENT)
    assert "\n" not in str(caught.value)


def test_a_missing_split_file_and_contradicting_options_are_refused(tmp_path):
    with pytest.raises(PaucisError, match="there is no such file"):
        split_of(cases_of(3), split=str(tmp_path / "none.json"))
    with pytest.raises(PaucisError, match="exclude each other"):
        split_of(cases_of(3), split=str(tmp_path / "none.json"), folds=3)
    with pytest.raises(PaucisError, match=r"needs data\.folds"):
        split_of(cases_of(3), fold=1)


def test_groups_come_from_the_pattern_and_a_name_without_one_is_refused():
    dataset = dataset_of(cases_of(2, frames=2))
    assert {group_of(case) for case in regroup(dataset, PATIENT).cases} == {"p00", "p01"}
    assert {group_of(case) for case in regroup(dataset, r"f\d").cases} == {"f0", "f1"}
    assert regroup(dataset, None) == dataset
    with pytest.raises(PaucisError, match="finds no patient in the case name 'p00_f0'"):
        regroup(dataset, r"patient(\d+)")
    with pytest.raises(PaucisError, match="not a regular expression"):
        regroup(dataset, "(")


def test_applied_unlabeled_cases_have_lost_their_label():
    cases = cases_of(6)
    split = split_of(cases, "2")
    roles = apply_split(dataset_of(cases), split)
    assert all(case.label for case in (*roles.labeled, *roles.val))
    assert roles.unlabeled
    assert all(case.label is None for case in roles.unlabeled)
    assert {case.name for case in training_part(dataset_of(cases), split).cases} == set(split.train)


def test_a_split_of_another_dataset_is_not_applied():
    with pytest.raises(PaucisError, match="'q'"):
        apply_split(dataset_of(cases_of(3)), Split(("q",)))
    with pytest.raises(PaucisError, match="has no label"):
        apply_split(dataset_of(cases_of(1, 1)), Split(("p01_f0",)))


@pytest.mark.realdata
def test_seven_acdc_patients_are_fourteen_volumes_in_the_literatures_order(real_data):
    from paucis.data.layouts import recognize

    dataset = recognize(real_data / "acdc")
    split = make_split(dataset, DataOptions(group=r"(patient\d+)"), "7")
    listed = json.loads((real_data / "acdc" / "splits.json").read_text())
    assert list(split.labeled) == listed["train"][:14]
    assert sorted(split.val) == sorted(listed["val"])
    assert len(split.unlabeled) == 126
