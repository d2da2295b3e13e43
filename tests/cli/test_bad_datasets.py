"""Datasets that cannot be trained on: one line that names the file and the remedy, and no run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from paucis.data.pictures import write as write_picture

Refused = Callable[..., str]


def image(root: Path) -> Path:
    return sorted((root / "imagesTr").iterdir())[0]


def label(root: Path) -> Path:
    return sorted((root / "labelsTr").iterdir())[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def redrawn(path: Path, change: Callable[[np.ndarray], object]) -> None:
    scan = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(scan).astype(np.float32 if "images" in str(path) else np.uint8)
    change(array)
    drawn = sitk.GetImageFromArray(array)
    drawn.CopyInformation(scan)
    sitk.WriteImage(drawn, str(path))


def smaller(root: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(label(root)))[:-2], str(label(root)))


def moved(root: Path) -> None:
    mask = sitk.ReadImage(str(label(root)))
    mask.SetOrigin((500.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(label(root)))


def first_voxel(value: float) -> Callable[[np.ndarray], object]:
    return lambda array: array.__setitem__((0, 0, 0), value)


FILES = {
    "a truncated image": (lambda root: cut(image(root)), ("imagesTr/phantom_000", "truncated", "download it again")),
    "a truncated mask": (lambda root: cut(label(root)), ("labelsTr/phantom_000", "truncated", "download it again")),
    "an empty file": (lambda root: image(root).write_bytes(b""), ("imagesTr/phantom_000", "0 bytes", "remove it")),
    "a text file": (lambda root: image(root).write_text("x"), ("imagesTr/phantom_000", "not a NIfTI", "copy it again")),
    "a missing image": (lambda root: image(root).unlink(), ("imagesTr/phantom_000", "does not exist", "check")),
    "a missing mask": (lambda root: label(root).unlink(), ("labelsTr/phantom_000", "does not exist", "check")),
    "a mask of another size": (smaller, ("labelsTr/phantom_000", "15x21x22", "resample")),
    "a mask at another place": (moved, ("labelsTr/phantom_000", "mm from its image", "resample")),
    "NaN": (lambda root: redrawn(image(root), first_voxel(np.nan)), ("imagesTr/phantom_000", "NaN", "replace")),
    "unknown values": (lambda root: redrawn(label(root), first_voxel(77)), ("labelsTr/phantom_000", "77", "labels")),
}


@pytest.fixture
def copied(phantoms: Path, tmp_path: Path) -> Path:
    shutil.copytree(phantoms, tmp_path / "data")
    return tmp_path / "data"


def both(refused: Refused, root: Path, said: tuple[str, ...]) -> None:
    """``check`` and ``train`` say so alike, and no run is left."""
    out = root.parent / "run"
    few = ("device=cpu", "data.workers=0", "train.workers=0", "train.steps=1", "network.features=4")
    for command in (("check", root), ("train", root, "--out", out, *few)):
        line = refused(*command)
        assert all(part in line for part in said), line
    assert not out.exists()


@pytest.mark.parametrize("fault", FILES)
def test_a_file_that_cannot_be_used_is_named(fault: str, copied: Path, refused: Refused) -> None:
    change, said = FILES[fault]
    change(copied)
    both(refused, copied, said)


def described(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content.update(changes)


DESCRIPTIONS = {
    "no JSON": (lambda content: "{", ("not valid JSON", "line 1", "mend")),
    "no text": (lambda content: b"\xff\xfe\x00", ("not UTF-8", "save it as UTF-8")),
    "a list": (lambda content: "[1]", ("not a JSON object", "labels")),
    "a training list that is none": (described(training="x"), ("'training' is not a list", "list the images")),
    "no cases": (described(training=[]), ("holds no image", "add scans")),
    "an entry without image": (described(training=[{"label": "x"}]), ("entry 0", "names no image", "mend or remove")),
    "a label that is a number": (
        lambda content: content["training"][0].update(label=5),
        ("entry 0", "'label' names no file", "mend"),
    ),
    "a case twice": (
        lambda content: content["training"].append(content["training"][0]),
        ("phantom_000", "twice", "remove"),
    ),
    "labels as a list": (described(labels=["a", "b"]), ("'labels' is not an object", '"background": 0')),
    "a class without number": (described(labels={"0": "background", "one": "two"}), ("'one'", "whole number")),
    "half a class": (described(labels={"background": 0, "liver": 1.5}), ("'liver'", "whole number")),
    "two classes of one value": (described(labels={"background": 0, "a": 1, "b": 1}), ("same value", "each its own")),
    "channels that are a number": (described(modality=5), ("'modality' is not an object", "MRI")),
    "channels that no image has": (described(modality={"0": "a", "1": "b"}), ("1 channels", "channel_names")),
}


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_a_broken_description_is_named_with_its_entry(fault: str, copied: Path, refused: Refused) -> None:
    change, said = DESCRIPTIONS[fault]
    path = copied / "dataset.json"
    content = json.loads(path.read_text())
    text = change(content)
    path.write_bytes(text if isinstance(text, bytes) else (text or json.dumps(content)).encode())
    both(refused, copied, ("data" if "holds no image" in said else "dataset.json", *said))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("splits.json", "{", ("not valid JSON", "mend that line")),
        ("splits.json", '{"train": ["phantm_000"]}', ("phantm_000", "did you mean 'phantom_000'")),
        ("splits_final.json", '[{"train": ["phantom_000"], "val": 3}]', ("is no split", '"val": [names]')),
    ],
)
def test_a_broken_split_beside_the_data_is_named(
    name: str, content: str, said: tuple[str, ...], copied: Path, refused: Refused
) -> None:
    (copied / name).write_text(content)
    both(refused, copied, (name, *said))


def pictures(root: Path, ending: str) -> Path:
    """Three pictures with masks, and the first picture's path."""
    drawn = np.random.default_rng(0).integers(0, 255, (3, 24, 24), np.uint8)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index, array in enumerate(drawn):
        write_picture(root / "images" / f"{index}{ending}", array[None], compression=False)
        Image.fromarray(255 * (array > 200).astype(np.uint8)).save(root / "masks" / f"{index}.png")
    return root / "images" / f"0{ending}"


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".gif"])
def test_truncated_pictures_are_named(ending: str, tmp_path: Path, refused: Refused) -> None:
    cut(pictures(tmp_path / "data", ending))
    both(refused, tmp_path / "data", (f"images/0{ending}", "copy or download it again"))


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_truncated_volumes_of_every_format_are_named(ending: str, copied: Path, refused: Refused) -> None:
    root = copied.parent / "folders"
    for source, folder in (("imagesTr", "images"), ("labelsTr", "masks")):
        (root / folder).mkdir(parents=True)
        for path in sorted((copied / source).iterdir())[:3]:
            sitk.WriteImage(sitk.ReadImage(str(path)), str(root / folder / path.name.replace(".nii.gz", ending)))
    cut(root / "images" / f"phantom_000{ending}")
    both(refused, root, (f"images/phantom_000{ending}", "download it again"))


def test_a_truncated_h5_file_is_named(tmp_path: Path, refused: Refused) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for index in range(3):
        with h5py.File(root / f"c{index}.h5", "w") as file:
            file["image"] = np.random.default_rng(index).normal(size=(16, 16, 8)).astype(np.float32)
            file["label"] = np.ones((16, 16, 8), np.uint8)
    cut(root / "c0.h5")
    both(refused, root, ("c0.h5", "download it again"))


def test_masks_that_lose_values_are_refused(tmp_path: Path, refused: Refused) -> None:
    path = pictures(tmp_path / "data", ".png")
    mask = path.parents[1] / "masks" / "0.png"
    Image.open(mask).save(mask.with_suffix(".jpg"))
    mask.unlink()
    both(refused, tmp_path / "data", ("masks/0.jpg", "JPEG", "PNG"))


def test_check_prints_its_report_as_json_beside_the_one_line(copied: Path, cli: Callable[..., Any]) -> None:
    cut(image(copied))
    done = cli("check", copied, "--json")
    assert done.code == 2
    (problem,) = json.loads(done.out)["problems"]
    assert problem["file"].endswith("imagesTr/phantom_000.nii.gz")
    assert len(done.err.strip().splitlines()) == 1
