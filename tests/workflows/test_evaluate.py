from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.evaluation.phantoms import cube, labels

from paucis.data.case import Geometry
from paucis.data.formats import write_map, write_mask
from paucis.errors import PaucisError
from paucis.evaluation.metrics import case_metrics
from paucis.workflows.evaluate import evaluate

VOLUME = Geometry(spacing=(4.0, 1.5, 1.2), origin=(-30.0, 12.0, 7.0))
PICTURE = Geometry(physical=False, dims=2, suffix=".png")
SHAPE = (6, 20, 24)


def save(folder: Path, name: str, mask: NDArray[np.generic], geometry: Geometry = VOLUME) -> Path:
    path = folder / f"{name}{geometry.suffix}"
    write_mask(path, mask, geometry)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three volumes of three classes, predicted and labeled."""
    for number in range(3):
        save(tmp_path / "predictions", f"case{number}", labels(SHAPE, number))
        save(tmp_path / "labels", f"case{number}", labels(SHAPE, number + 10))
    return tmp_path / "predictions", tmp_path / "labels"


def test_a_folder_of_volumes_gives_the_figures_of_its_arrays(folders: tuple[Path, Path]) -> None:
    found = evaluate(*folders)
    names = ("background", "class_1", "class_2")
    expected = [
        row
        for number in range(3)
        for row in case_metrics(
            labels(SHAPE, number), labels(SHAPE, number + 10), names, VOLUME.spacing, case=f"case{number}"
        )
    ]
    assert [(row.case, row.name) for row in found.rows] == [(row.case, row.name) for row in expected]
    for ours, theirs in zip(found.rows, expected, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, rel=1e-5)
    mean = np.mean([row.scores["dice"] for row in expected])
    assert found.summary.overall["dice"].mean == pytest.approx(mean)
    assert found.summary.unit == "mm"


def test_tables_and_sheet_lie_beside_the_predictions(folders: tuple[Path, Path]) -> None:
    found = evaluate(*folders)
    assert found.out == folders[0] / "evaluation"
    assert sorted(path.name for path in found.out.iterdir()) == [
        "cases.csv",
        "cases.json",
        "sheet.png",
        "summary.json",
        "summary.md",
    ]
    with open(found.out / "cases.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
    again = evaluate(*folders)
    assert len(again.rows) == 6  # its own results are not taken for predictions


def test_processes_change_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = evaluate(*folders, workers=0), evaluate(*folders, workers=2, out=tmp_path / "two")
    assert one.rows == two.rows
    assert (one.out / "summary.json").read_text() == (two.out / "summary.json").read_text()


def test_the_literature_counts_voxels(folders: tuple[Path, Path]) -> None:
    found = evaluate(*folders, convention="literature")
    assert found.summary.unit == "voxel"
    assert found.summary.convention == "literature"


def test_a_manifest_names_classes_values_images_and_maps(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, truth = folders
    for number in range(3):  # raw values 0, 2, 5 on both sides
        raw = np.array([0, 2, 5], dtype=np.uint8)
        save(predictions, f"case{number}", raw[labels(SHAPE, number)])
        save(truth, f"case{number}", raw[labels(SHAPE, number + 10)])
        entropy = np.random.default_rng(0).random(SHAPE).astype(np.float32)
        write_map(predictions / "maps" / f"case{number}_entropy.nii.gz", entropy, VOLUME)
    manifest = {
        "classes": ["background", "liver", "spleen"],
        "values": [0, 2, 5],
        "cases": [
            {
                "name": f"case{number}",
                "mask": f"case{number}.nii.gz",
                "maps": {"entropy": f"maps/case{number}_entropy.nii.gz"},
                "image": [str(tmp_path / "gone.nii.gz")],
            }
            for number in range(3)
        ],
    }
    (predictions / "manifest.json").write_text(json.dumps(manifest))
    found = evaluate(predictions, truth)
    assert list(found.summary.classes) == ["liver", "spleen"]
    assert found.sheet is not None
    with Image.open(found.sheet) as sheet:
        wide = sheet.size[0]
    (predictions / "manifest.json").unlink()
    for path in (predictions / "maps").iterdir():
        path.unlink()
    unnamed = evaluate(predictions, truth)
    assert list(unnamed.summary.classes) == ["class_1", "class_2"]
    assert [row.scores for row in unnamed.rows] == [row.scores for row in found.rows]
    assert unnamed.sheet is not None
    with Image.open(unnamed.sheet) as sheet:
        assert sheet.size[0] < wide  # no column of maps


@pytest.mark.parametrize(("ours", "theirs"), [(255, 255), (1, 255), (255, 1)])
def test_pictures_of_0_and_255_are_one_class(tmp_path: Path, ours: int, theirs: int) -> None:
    for number in range(2):
        prediction, reference = cube((20, 20), (4, 4), 8)[None], cube((20, 20), (4, 6 + number), 8)[None]
        save(tmp_path / "p", f"skin{number}", prediction * np.uint8(ours), PICTURE)
        save(tmp_path / "l", f"skin{number}", reference * np.uint8(theirs), PICTURE)
    found = evaluate(tmp_path / "p", tmp_path / "l", classes=["skin", "lesion"])
    assert [row.scores["dice"] for row in found.rows] == [0.75, 0.625]
    assert found.summary.unit == "pixel"
    assert list(found.summary.classes) == ["lesion"]


def test_255_beside_classes_is_not_counted(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    reference = labels(SHAPE, 0)
    reference[:, 10:] = 255
    save(truth, "case0", reference)
    rows = evaluate(predictions, truth).rows
    assert [row.scores["dice"] for row in rows if row.case == "case0"] == [1.0, 1.0]


def test_a_dataset_gives_labels_classes_images_and_patients(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    names = [f"p{patient}_t{time}" for patient in range(3) for time in range(2)]
    for number, name in enumerate(names):
        mask = labels(SHAPE, number)
        save(root / "labelsTr", name, mask)
        write_map(root / "imagesTr" / f"{name}_0000.nii.gz", mask * 50.0, VOLUME)
        save(tmp_path / "predictions", name, labels(SHAPE, number + 10))
    description = {"labels": {"background": 0, "left": 1, "right": 2}, "channel_names": {"0": "MRI"}}
    (root / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz", "numTraining": 6}))
    found = evaluate(tmp_path / "predictions", root, group=r"(p\d+)_")
    assert list(found.summary.classes) == ["left", "right"]
    assert (found.summary.cases, found.summary.groups) == (6, 3)
    assert "6 cases of 3 patients" in (found.out / "summary.md").read_text()


def test_one_file_is_compared_with_another_of_any_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = evaluate(folders[0] / "case0.nii.gz", folders[1] / "case1.nii.gz", out=tmp_path / "out")
    assert {row.case for row in found.rows} == {"case0"}
    assert found.sheet is not None


def test_one_file_is_found_among_many_labels(folders: tuple[Path, Path]) -> None:
    found = evaluate(folders[0] / "case1.nii.gz", folders[1])
    assert {row.case for row in found.rows} == {"case1"}
    assert set(found.missing) == {"case0", "case2"}
    assert found.out == folders[0] / "evaluation"


def test_a_channel_number_in_the_way_is_left_aside(folders: tuple[Path, Path]) -> None:
    for path in list(folders[0].iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    assert len(evaluate(*folders).rows) == 6


def test_labels_without_a_prediction_are_an_error_unless_allowed(folders: tuple[Path, Path]) -> None:
    (folders[0] / "case1.nii.gz").unlink()
    with pytest.raises(PaucisError, match=r"1 of 3 labels .* have no prediction .*\(case1\).*--partial"):
        evaluate(*folders)
    assert not (folders[0] / "evaluation").exists()
    found = evaluate(*folders, partial=True)
    assert found.missing == ("case1",)
    assert "not counted: 1 (case1)" in (found.out / "summary.md").read_text()


def test_predictions_without_a_label_are_counted_and_said(folders: tuple[Path, Path]) -> None:
    (folders[1] / "case2.nii.gz").unlink()
    found = evaluate(*folders)
    assert found.unmatched == ("case2",)
    assert any("case2" in note for note in found.notes)


def test_nothing_to_evaluate_shows_the_names_of_both_sides(folders: tuple[Path, Path]) -> None:
    for path in list(folders[0].iterdir()):
        path.rename(path.with_name(f"other_{path.name}"))
    with pytest.raises(PaucisError, match=r"nothing to evaluate.*other_case0.*case0"):
        evaluate(*folders)


def test_missing_and_empty_places_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PaucisError, match="nowhere does not exist"):
        evaluate(tmp_path / "nowhere", folders[1])
    with pytest.raises(PaucisError, match="empty holds no masks"):
        evaluate(tmp_path / "empty", folders[1])
    with pytest.raises(PaucisError, match="empty"):
        evaluate(folders[0], tmp_path / "empty")


def test_a_mask_of_another_size_names_both_files(folders: tuple[Path, Path]) -> None:
    save(folders[0], "case1", labels((6, 20, 23), 0))
    with pytest.raises(
        PaucisError, match=r"predictions/case1\.nii\.gz has 6x20x23 .*labels/case1\.nii\.gz has 6x20x24"
    ):
        evaluate(*folders)


@pytest.mark.parametrize(
    "moved",
    [
        replace(VOLUME, origin=(-29.0, 12.0, 7.0)),
        replace(VOLUME, spacing=(4.0, 1.5, 1.3)),
        replace(VOLUME, direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)),
    ],
)
def test_a_mask_in_another_place_is_refused(folders: tuple[Path, Path], moved: Geometry) -> None:
    save(folders[0], "case1", labels(SHAPE, 0), moved)
    with pytest.raises(PaucisError, match=r"case1\.nii\.gz lies up to .* mm away from its label"):
        evaluate(*folders)


def test_rounding_of_the_header_is_no_other_place(folders: tuple[Path, Path]) -> None:
    save(folders[0], "case1", labels(SHAPE, 1), replace(VOLUME, origin=(-30.004, 12.0, 7.0)))
    assert len(evaluate(*folders).rows) == 6


def test_another_number_of_classes_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(PaucisError, match="names 2 classes, the masks have 3"):
        evaluate(*folders, classes=["background", "organ"])
    save(folders[0], "case1", labels(SHAPE, 1) + np.uint8(3))
    (folders[0] / "manifest.json").write_text(
        json.dumps(
            {
                "classes": ["background", "a", "b"],
                "values": [0, 1, 2],
                "cases": [{"name": f"case{number}", "mask": f"case{number}.nii.gz"} for number in range(3)],
            }
        )
    )
    with pytest.raises(PaucisError, match=r"case1\.nii\.gz holds the value 3"):
        evaluate(*folders)


@pytest.mark.parametrize("content", ["{", '{"values": [0, 1], "cases": [{"name": "a"}]}', '{"values": 1, "cases": []}'])
def test_a_damaged_manifest_is_named(folders: tuple[Path, Path], content: str) -> None:
    (folders[0] / "manifest.json").write_text(content)
    with pytest.raises(PaucisError, match=r"manifest\.json .*predict again"):
        evaluate(*folders)


def test_a_truncated_mask_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "case1.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PaucisError, match=r"case1\.nii\.gz"):
        evaluate(*folders)


def test_wrong_choices_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match="did you mean 'literature'"):
        evaluate(tmp_path, tmp_path, convention="litrature")
    with pytest.raises(PaucisError, match="tolerance_mm"):
        evaluate(tmp_path, tmp_path, tolerance_mm=-1)


def test_empty_masks_everywhere_give_tables_but_no_sheet(tmp_path: Path) -> None:
    for side in ("p", "l"):
        save(tmp_path / side, "a", np.zeros(SHAPE, dtype=np.uint8))
    (tmp_path / "p" / "evaluation").mkdir()
    (tmp_path / "p" / "evaluation" / "sheet.png").write_bytes(b"old")
    found = evaluate(tmp_path / "p", tmp_path / "l")
    assert found.summary.states == {"foreground": {"found": 0, "missed": 0, "spurious": 0, "absent": 1}}
    assert found.sheet is None
    assert not (found.out / "sheet.png").exists()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("dataset", "unit"), [("acdc", "mm"), ("isic", "pixel"), ("hippocampus", "mm"), ("jsrt", "pixel")]
)
def test_real_labels_evaluated_against_themselves_are_perfect(
    tmp_path: Path, real_data: Path, dataset: str, unit: str
) -> None:
    root = real_data / dataset
    masks = sorted((root / ("masks" if (root / "masks").is_dir() else "labelsTr")).iterdir())[:4]
    for mask in masks:
        (tmp_path / mask.name).symlink_to(mask)
    found = evaluate(tmp_path, root, partial=True, out=tmp_path / "out")
    assert (found.summary.cases, found.summary.unit) == (4, unit)
    for name, statistics in found.summary.classes.items():
        if found.summary.states[name]["found"]:
            assert statistics["dice"].mean == 1
            assert statistics["hd"].mean == 0
    assert found.sheet is not None
