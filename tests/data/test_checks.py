"""Every problem a dataset can have is found once, and a sound dataset has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paucis.data.case import Case, Dataset, Geometry
from paucis.data.checks import check
from paucis.data.facts import CaseFacts

SUMMARY = {"mean": 5.0, "std": 1.0, "min": 0.0, "max": 9.0, "p005": 0.0, "p500": 5.0, "p995": 9.0}
Change = Callable[[dict[str, CaseFacts]], None]


def sound(root: Path) -> tuple[Dataset, dict[str, CaseFacts]]:
    cases = tuple(Case(name, (root / f"{name}.nii.gz",), root / f"{name}_mask.nii.gz", name) for name in "abc")
    facts = {
        case.name: CaseFacts(
            name=case.name, content=case.name, label_content="m" + case.name, shape=(10, 100, 100), channels=1,
            geometry=Geometry(), dtype="int16", intensity=(SUMMARY,), foreground=(SUMMARY,), nonfinite=0,
            label_counts={0: 9, 1: 1}, label_shape=(10, 100, 100), label_geometry=Geometry(),
        )
        for case in cases
    }  # fmt: skip
    return Dataset(root, "msd", cases, ("MRI",), ("background", "organ"), (0, 1)), facts


def test_a_sound_dataset_has_no_problem(tmp_path: Path) -> None:
    assert check(*sound(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "level", "file", "message"),
    [
        ({"label_shape": (10, 100, 99)}, "error", "b_mask.nii.gz", "10x100x99 voxels, its image 10x100x100"),
        ({"label_geometry": Geometry(origin=(0.02, 0, 0))}, "error", "b_mask.nii.gz", "0.02 mm from its image"),
        ({"label_counts": {0: 5, 7: 3, 9: 2}}, "error", "b_mask.nii.gz", "unknown label values 7, 9 in 5 voxels"),
        ({"nonfinite": 3}, "error", "b.nii.gz", "3 voxels are NaN or infinite"),
        ({"intensity": ({**SUMMARY, "max": 0.0},)}, "warning", "b.nii.gz", "constant"),
        ({"content": "a"}, "warning", "b.nii.gz", "the same image as case 'a', with another label"),
        ({"channels": 2, "intensity": (SUMMARY, SUMMARY)}, "error", "b.nii.gz", "2 channels, where most images have 1"),
        ({"geometry": Geometry(dims=2)}, "error", "b.nii.gz", "a picture among volumes"),
    ],
)
def test_what_is_wrong_with_a_case_is_found(
    tmp_path: Path, changes: dict[str, object], level: str, file: str, message: str
) -> None:
    dataset, facts = sound(tmp_path)
    facts["b"] = replace(facts["b"], **changes)  # type: ignore[arg-type]
    [problem] = check(dataset, facts)
    assert (problem.level, Path(problem.file).name) == (level, file)
    assert message in problem.message
    assert problem.remedy


def test_a_rotation_too_small_for_the_header_shows_at_the_corners(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    turned = (1.0, -2e-4, 0.0, 2e-4, 1.0, 0.0, 0.0, 0.0, 1.0)
    facts["b"] = replace(facts["b"], label_geometry=Geometry(direction=turned))
    assert len(check(dataset, facts)) == 1
    assert check(dataset, facts, tolerance_mm=0.1) == []


def test_pictures_have_no_place_to_compare(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    facts["b"] = replace(facts["b"], label_geometry=Geometry(origin=(9, 9, 9), physical=False))
    assert check(dataset, facts) == []


def test_a_copy_in_another_role_is_an_error(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    facts["b"] = replace(facts["b"], content="a")
    dataset = replace(dataset, split=({"train": ("a", "c"), "val": ("b",)},))
    [problem] = check(dataset, facts)
    assert (problem.level, "in another role" in problem.message) == ("error", True)


def test_a_copy_with_and_without_a_label_is_told(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    facts["b"] = replace(facts["b"], content="a", label_content=None, label_counts=None, label_shape=None)
    cases = (dataset.cases[0], dataset.cases[1].unlabeled(), dataset.cases[2])
    [problem] = check(replace(dataset, cases=cases), facts)
    assert "once with and once without a label" in problem.message


@pytest.mark.parametrize("by", ["split", "role"])
def test_a_patient_in_two_roles_is_an_error(tmp_path: Path, by: str) -> None:
    dataset, facts = sound(tmp_path)
    roles = {"a": "train", "b": "val", "c": "train"}
    cases = tuple(
        replace(case, group="P" if case.name in "ab" else "Q", role=roles[case.name] if by == "role" else None)
        for case in dataset.cases
    )
    split = ({"train": ("a", "c"), "val": ("b",)},) if by == "split" else ()
    [problem] = check(replace(dataset, cases=cases, split=split), facts)
    assert problem.level == "error"
    assert problem.message == "patient 'P' is in train ('a') and in val ('b')"


def test_a_class_that_no_label_has_is_told(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    dataset = replace(dataset, classes=("background", "organ", "tumor"), values=(0, 1, 2))
    [problem] = check(dataset, facts)
    assert (problem.level, "class 'tumor' (value 2) is in none of the 3 labels" in problem.message) == ("warning", True)


def test_a_label_to_ignore_is_no_unknown_value(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "organ": 1, "ignore": 2}}')
    dataset, facts = sound(tmp_path)
    facts["b"] = replace(facts["b"], label_counts={0: 5, 1: 2, 2: 3})
    assert check(dataset, facts) == []


def test_channels_other_than_the_named_ones_are_an_error(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    [problem] = check(replace(dataset, channels=("T1", "T2")), facts)
    assert problem.message == "images have 1 channels, the dataset names 2"


def test_slices_beside_their_volume_are_told(tmp_path: Path) -> None:
    dataset, facts = sound(tmp_path)
    first = replace(dataset.cases[0], name="b_slice_3")
    [problem] = check(replace(dataset, cases=(first, *dataset.cases[1:])), facts)
    assert "1 slices lie beside the volumes" in problem.message
