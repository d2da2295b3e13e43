"""Facts are what the files hold, are remembered while the files stay, and never come from a label out of bounds."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from paucis.data.case import Case
from paucis.data.facts import gather
from paucis.data.intensities import summarize


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 2.0, 3.0)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def case(tmp_path: Path) -> Case:
    values = np.random.default_rng(0).normal(100, 20, (3, 5, 7)).astype(np.float32)
    values[0, 0, :2] = np.nan, np.inf
    mask = np.zeros((3, 5, 7), np.uint8)
    mask[1, 1:3, 2:5] = 4
    return Case("a", (write(tmp_path / "a.nii.gz", values),), write(tmp_path / "a_mask.nii.gz", mask), "a")


def test_facts_are_those_of_the_arrays(tmp_path: Path, case: Case) -> None:
    facts, problems = gather([case], tmp_path / "store")
    fact = facts["a"]
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[0])))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
    inside = values[mask > 0]
    assert problems == []
    assert (fact.shape, fact.label_shape, fact.channels, fact.dtype) == ((3, 5, 7), (3, 5, 7), 1, "float32")
    assert fact.geometry.spacing == (3.0, 2.0, 1.0)
    assert (fact.nonfinite, fact.label_counts) == (2, {0: 99, 4: 6})
    assert fact.foreground is not None
    for name, reference in {
        "mean": inside.mean(),
        "std": inside.std(),
        "min": inside.min(),
        "max": inside.max(),
    }.items():
        assert fact.foreground[0][name] == pytest.approx(reference, rel=1e-6)
    assert fact.foreground[0]["p500"] == pytest.approx(np.median(inside))
    assert all(np.isfinite(list(fact.intensity[0].values())))


def test_ignored_voxels_are_no_foreground_and_are_remembered_apart(tmp_path: Path, case: Case) -> None:
    assert case.label is not None
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
    mask[2] = 9
    write(case.label, mask)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[0])))
    for ignore, inside in ((frozenset[int](), mask > 0), (frozenset({9}), mask == 4), (frozenset({4, 9}), mask > 9)):
        fact = gather([case], tmp_path / "store", ignore=ignore)[0]["a"]
        assert fact.label_counts == {0: 64, 4: 6, 9: 35}
        if inside.any():
            assert fact.foreground is not None
            assert fact.foreground[0]["mean"] == pytest.approx(values[inside].mean(), rel=1e-6)
        else:
            assert fact.foreground is None


def test_what_was_seen_is_remembered_until_a_file_changes(tmp_path: Path, case: Case) -> None:
    first, _ = gather([case], tmp_path / "store")
    label = case.label
    assert label is not None
    kept, times = label.read_bytes(), label.stat()
    label.write_bytes(b"\0" * len(kept))  # unreadable now, but looks the same from outside
    os.utime(label, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert gather([case], tmp_path / "store") == (first, [])
    os.utime(label, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert [problem.file for problem in gather([case], tmp_path / "store")[1]] == [str(label)]


def test_a_damaged_memory_is_made_anew(tmp_path: Path, case: Case) -> None:
    first, _ = gather([case], tmp_path / "store")
    for memory in (tmp_path / "store" / "facts").iterdir():
        memory.write_text("{")
    assert gather([case], tmp_path / "store")[0] == first


def test_a_case_without_its_label_does_not_open_it(tmp_path: Path, case: Case) -> None:
    assert case.label is not None
    gather([case], tmp_path / "store")
    case.label.write_bytes(b"opening me raises")
    facts, problems = gather([case.unlabeled()], tmp_path / "store")
    fact = facts["a"]
    assert problems == []
    assert (fact.label_counts, fact.label_content, fact.label_shape, fact.foreground) == (None, None, None, None)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_do_not_stop_the_others(tmp_path: Path, case: Case, workers: int) -> None:
    cases = [case]
    for index in range(12):
        path = write(tmp_path / f"c {index}.nii.gz", np.full((1, 2, 3), index, np.int16))
        cases.append(Case(f"c{index}", (path,)))
    cases[5].images[0].write_bytes(cases[5].images[0].read_bytes()[:40])
    cases[6].images[0].unlink()
    steps: list[tuple[int, int]] = []
    facts, problems = gather(cases, tmp_path / "store", workers, lambda done, total: steps.append((done, total)))
    assert list(facts) == [case.name for case in cases if case.name not in ("c4", "c5")]
    assert [problem.file for problem in problems] == [str(cases[5].images[0]), str(cases[6].images[0])]
    assert all(problem.remedy and problem.level == "error" for problem in problems)
    assert [step[0] for step in steps] == list(range(14))


def test_h5_content_is_told_apart_by_image_and_by_label(tmp_path: Path) -> None:
    cases = []
    for name, value, label in (("a", 1, 1), ("b", 1, None), ("c", 2, 1)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["image"] = np.full((2, 3, 4), value, np.float32)
            if label:
                file["label"] = np.full((2, 3, 4), label, np.uint8)
        cases.append(Case(name, (tmp_path / f"{name}.h5",), tmp_path / f"{name}.h5" if label else None))
    facts, _ = gather(cases, tmp_path / "store")
    assert facts["a"].content == facts["b"].content != facts["c"].content
    assert facts["a"].label_content == facts["c"].label_content


def test_statistics_hold_beyond_the_sample_and_without_any_finite_voxel() -> None:
    values = np.random.default_rng(0).normal(0, 1, 5_000_000).astype(np.float32)
    summary, lost = summarize(values)
    assert lost == 0
    assert summary["p995"] == pytest.approx(np.quantile(values, 0.995), abs=0.02)
    assert summary["max"] == values.max()
    assert summarize(np.full(3, np.nan)) == (dict.fromkeys(summary, 0.0), 3)


@pytest.mark.realdata
def test_a_real_stack_counts_its_label_voxels(real_data: Path, tmp_path: Path) -> None:
    image = real_data / "acdc/imagesTr/patient099_frame01_0000.nii.gz"
    label = real_data / "acdc/labelsTr/patient099_frame01.nii.gz"
    fact = gather([Case("a", (image,), label)], tmp_path)[0]["a"]
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(label)))
    assert fact.label_counts == {value: int((mask == value).sum()) for value in range(4)}
    assert fact.geometry.spacing == pytest.approx((10.0, 1.5, 1.5))
