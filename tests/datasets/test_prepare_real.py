"""Real files go through their converters, in their publishers' layout where ours differs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from miniatures import gray, save
from PIL import Image

from paucis.data.formats import read_label
from paucis.datasets import find
from paucis.datasets.splits import Member, positions, split
from paucis.workflows.check import Report, check_dataset
from paucis.workflows.prepare import prepare

pytestmark = pytest.mark.realdata


def brought(name: str, source: Path, out: Path, protocol: str | None = None) -> Report:
    prepare(name, source, out=out, protocol=protocol, partial=True)
    report = check_dataset(out, store=out.parent / "facts", workers=0)
    assert not report.errors, [str(problem) for problem in report.errors]
    return report


def some(source: Path, folder: Path, count: int) -> Path:
    """A folder of links to the first files of every folder of the source."""
    for place in (path for path in source.iterdir() if path.is_dir()):
        (folder / place.name).mkdir(parents=True)
        for file in sorted(place.iterdir())[:count]:
            os.symlink(file, folder / place.name / file.name)
    return folder


def test_drive(real_data: Path, tmp_path: Path) -> None:
    report = brought("drive", real_data / "drive", tmp_path / "whole", "whole")
    assert (report.labeled, report.split) == (20, ({"train": 20},))
    assert report.sizes is not None
    assert report.sizes.median[1:] == (584, 565)
    source = some(real_data / "drive", tmp_path / "source", 3)
    report = brought("drive", source, tmp_path / "literature")
    assert report.sizes is not None
    assert report.sizes.median[1:] == (512, 512)
    assert 0.05 < report.classes[1].share < 0.2  # vessels of the cropped field


def test_chase_db1(real_data: Path, tmp_path: Path) -> None:
    report = brought("chase-db1", real_data / "chase_db1", tmp_path / "whole", "whole")
    assert (report.labeled, report.patients, report.split) == (20, 10, ({"train": 20},))


def test_hippocampus(real_data: Path, tmp_path: Path) -> None:
    source = some(real_data / "hippocampus", tmp_path / "source", 16)
    description = json.loads((real_data / "hippocampus" / "dataset.json").read_text())
    description["training"] = description["training"][:16]
    (source / "dataset.json").write_text(json.dumps(description))
    report = brought("msd-hippocampus", source, tmp_path / "data")
    assert (report.labeled, [found.name for found in report.classes[1:]]) == (16, ["Anterior", "Posterior"])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "folder", "count"), [("msd-hippocampus", "hippocampus", 208), ("isic2018", "isic", 1400)]
)
def test_a_large_folder_passes_whole(name: str, folder: str, count: int, real_data: Path, tmp_path: Path) -> None:
    assert brought(name, real_data / folder, tmp_path / "data").labeled == count


def test_the_order_of_acdc_is_that_of_the_lists_of_the_literature(real_data: Path) -> None:
    listed = json.loads((real_data / "acdc" / "splits.json").read_text())
    rule = find("acdc").protocol("literature").split
    assert rule is not None
    members = [Member(f"{patient}_{frame}", patient, None) for patient in find("acdc").ids for frame in "ab"]
    (fold,) = split(rule, members)
    for role, names in listed.items():
        assert [name[:10] for name in fold[role]] == [name[:10] for name in names]


def test_the_first_patients_of_acdc_have_the_published_numbers_of_slices(real_data: Path) -> None:
    labels = real_data / "acdc" / "labelsTr"
    order = positions(find("acdc").protocol("literature").split["patients"]["train"])
    for patients, slices in ((1, 32), (3, 68), (7, 136)):
        files = [file for number in order[:patients] for file in labels.glob(f"patient{number:03}_*")]
        assert len(files) == 2 * patients
        assert sum(read_label(file).array.shape[1] for file in files) == slices


def test_isic(real_data: Path, tmp_path: Path) -> None:
    source = some(real_data / "isic", tmp_path / "source", 20)
    report = brought("isic2018", source, tmp_path / "data")
    assert report.labeled == 20
    assert [found.value for found in report.classes] == [0, 255]


def test_jsrt_as_raw_images_and_masks_of_each_structure(real_data: Path, tmp_path: Path) -> None:
    source, values = tmp_path / "source", {"left lung": 1, "right lung": 2, "heart": 3}
    for path in sorted((real_data / "jsrt" / "images").iterdir())[:3]:
        pixels = np.asarray(Image.open(path).resize((2048, 2048), Image.Resampling.BILINEAR), np.uint16)
        source.mkdir(exist_ok=True)
        (4 * (255 - pixels)).astype(">u2").tofile(source / f"{path.stem}.IMG")
        label = read_label(real_data / "jsrt" / "masks" / f"{path.stem}.png").array[0, 0]
        for structure, value in values.items():
            mask = np.kron(gray(label == value), np.ones((4, 4), np.uint8))
            save(source / "fold1" / "masks" / structure / f"{path.stem}.gif", mask)
    report = brought("jsrt", source, tmp_path / "lungs", "lungs")
    assert report.labeled == 3
    assert 0.15 < report.classes[1].share < 0.5
    name = min(path.stem for path in source.glob("*.IMG"))
    original = np.asarray(Image.open(real_data / "jsrt" / "images" / f"{name}.png").resize((512, 512)), float)
    written = np.asarray(Image.open(tmp_path / "lungs" / "images" / f"{name}.png"), float)
    assert np.corrcoef(original.ravel(), written.ravel())[0, 1] > 0.99
    assert brought("jsrt", source, tmp_path / "heart", "heart").labeled == 3


def test_the_h5_files_of_the_literature(real_data: Path, tmp_path: Path) -> None:
    report = brought("acdc-h5", real_data / "published_h5" / "acdc", tmp_path / "acdc")
    assert (report.labeled, report.patients, report.split) == (4, 2, ({"train": 4},))
    report = brought("la-h5", real_data / "published_h5" / "la", tmp_path / "la")
    assert report.labeled == 4
    assert report.sizes is not None
    assert report.sizes.max[0] == 88  # slices first


def test_vessel_shapes(real_data: Path, tmp_path: Path) -> None:
    report = brought("vessel-shapes", real_data / "octa_dsa_masks", tmp_path / "data")
    assert (report.cases, report.labeled) == (20, 0)
    shares = [np.mean(np.asarray(Image.open(path)) > 0) for path in (tmp_path / "data" / "images").iterdir()]
    assert 0.02 < min(shares) <= max(shares) < 0.15
