"""Series of a hospital through every command: checked, trained on, predicted, written as DICOM, evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from making_dicom import noise, segmentation, series
from paucis.data import formats

SHAPE = (10, 20, 18)
QUICK = [
    "network.features=2",
    "train.steps=2",
    "train.batch_size=2",
    "train.workers=0",
    "data.workers=0",
    "validation.every=2",
    "checkpoint.every=2",
    "data.patch=8,16,16",
]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four series, three of them with segmentations that list their segments in different orders."""
    root = tmp_path_factory.mktemp("hospital") / "scans"
    for number in range(4):
        values, mask = scan(number)
        series(
            root / f"case{number}",
            values,
            patient=f"ID4711hidden{number}",
            description="chest",
            number=number,
            spacing=(1.0, 0.9, 0.9),
        )
        if number < 3:
            shown = np.stack([mask == 1, mask == 2], -1)
            labels = ("liver", "lesion") if number else ("lesion", "liver")
            content = shown if number else shown[..., ::-1]
            segmentation(root / "drawn" / f"{number}.dcm", root / f"case{number}", content, labels)
    return root


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros(SHAPE, int)
    mask[2:8, 4:14, 4:14], mask[4:6, 8:12, 8:12] = 1, 2
    return (noise(SHAPE, seed) // 4 + 300 * mask).astype(np.int16), mask


def test_a_run_on_series_ends_in_segmentations(hospital: Path, tmp_path: Path, cli: Callable[..., object]) -> None:
    told = []

    def run(*arguments: object) -> str:
        done = cli(*arguments)
        assert done.code == 0, done.err
        told.append(done.out + done.err)
        return done.out

    page = run("check", hospital)
    assert "DICOM series" in page
    assert "cases      4: 3 labeled, 1 unlabeled" in page
    assert "(a mask)" in page
    run("train", hospital, "--labels", 2, "--out", tmp_path / "run", *QUICK)
    codes = json.loads((tmp_path / "run" / "segments.json").read_text())
    assert codes["liver"]["type"] == ["10200004", "SCT", "Liver"]
    run("predict", tmp_path / "run", hospital, "--format", "dicom-seg", "--out", tmp_path / "seg")
    run("predict", tmp_path / "run", hospital, "--out", tmp_path / "nifti")
    scores = [
        run("evaluate", tmp_path / place, hospital, "--out", tmp_path / f"{place}-scores", "--json")
        for place in ("seg", "nifti")
    ]
    figures = [np.array(re.findall(r"-?\d+(?:\.\d+)?(?:e-\d+)?", text), float) for text in scores]
    assert len(figures[0]) > 100
    assert np.allclose(*figures, rtol=1e-4, atol=1e-6)  # NIfTI keeps spacings in 32 bits
    for number in range(4):
        case = hospital / f"case{number}"
        mask = formats.read_label(tmp_path / "seg" / f"case{number}.dcm", lambda case=case: formats.read_grid([case]))
        plain = formats.read_label(tmp_path / "nifti" / f"case{number}.nii.gz")
        assert np.array_equal(mask.array, plain.array)
        assert mask.geometry.origin == pytest.approx(plain.geometry.origin, abs=1e-3)
        written = pydicom.dcmread(tmp_path / "seg" / f"case{number}.dcm")
        assert [one.SegmentLabel for one in written.SegmentSequence] == ["lesion", "liver"]
    assert (tmp_path / "seg-scores" / "sheet.png").is_file()
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".dcm"]
    for hidden in ("Quixote", "Alonso", "ID4711"):
        assert not any(hidden in text for text in told)
        assert not any(hidden.encode() in file.read_bytes() or hidden in file.name for file in files)


def test_one_series_of_a_mixed_folder_is_chosen(
    tmp_path: Path, cli: Callable[..., object], refused: Callable[..., str]
) -> None:
    for number, modality in enumerate(("CT", "MR")):
        series(tmp_path / "disc", noise((4 + number, 12, 10)), modality=modality, number=number, description="plain")
    (tmp_path / "torn").write_bytes(bytes(128) + b"DICM" + bytes(40))
    report = json.loads(cli("check", tmp_path, "--series", "modality=MR", "--json").out)
    assert report["cases"] == 1
    assert [one["message"] for one in report["problems"]] == ["a damaged DICOM file"]
    assert {one["modality"]: one["case"] for one in report["series"]} == {"CT": "", "MR": "disc"}
    assert "fits none of 2 series" in refused("check", tmp_path / "disc", "--series", "modality=PT")


def test_mistakes_are_one_line(tmp_path: Path, hospital: Path, refused: Callable[..., str], phantoms: Path) -> None:
    series(tmp_path / "gap", noise(), change=lambda one, z: z != 2)
    assert "slice is missing: Image Position (Patient) (0020,0032)" in refused("check", tmp_path)
    assert "holds no DICOM series" in refused("check", phantoms, "--series", "largest")
