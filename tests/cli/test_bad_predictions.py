"""Prediction, evaluation and benchmarks of what does not fit: one line, and nothing that looks like a result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

Refused = Callable[..., str]

SMALL = {"network.features": 4, "train.batch_size": 2, "train.workers": 0, "data.workers": 0, "data.patch": "8,16,16"}
SUITE = "methods: [supervised]\nlabels: [2]\noptions: {train.steps: 2, network.features: 4}\n"


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on three labeled phantoms."""
    from paucis.workflows.train import train

    out = tmp_path_factory.mktemp("runs") / "run"
    train(phantoms, out=out, labels=3, options={**SMALL, "train.steps": 2, "checkpoint.every": 1, "device": "cpu"})
    return out


def fails(refused: Refused, arguments: tuple[object, ...], *said: str) -> None:
    line = refused(*arguments)
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{here}/empty {scans}", ("empty", "not a run folder")),
        ("{here}/nowhere {scans}", ("nowhere", "check the path")),
        ("{data} {scans}", ("not a run folder", "name one")),
        ("{run} {here}/nowhere", ("nowhere", "check the path")),
        ("{run} {here}/empty", ("empty", "holds no scans", ".nii.gz")),
        ("{run} {here}/file.txt", ("file.txt", "unknown format", ".nii.gz")),
        ("{run} {scans} --out {here}/file.txt", ("file.txt", "needs a folder")),
        ("{run} {scans} --out {scans}", ("must not overwrite", "another --out")),
        ("{run} {data} --role tset", ("tset", "val, test, labeled, unlabeled")),
        ("{run} {data} --role test", ("no case", "'test'")),
        ("{run} {scans} --device cuda:5", ("cuda:5", "not there", "device=cpu")),
        ("{run} {scans} --weights beast", ("'beast'", "best or last")),
        ("{run} {scans} --also {here}/empty", ("empty", "not a run folder")),
        ("{run} {scans} train.steps=3", ("'train.steps'", "predict.*")),
        ("{run} {scans} predict.overlpa=0.2", ("'predict.overlpa'", "did you mean 'predict.overlap'")),
        ("{run} {scans} predict.overlap=2", ("predict.overlap=2", "at most 0.95")),
        ("{run} {scans} predict.stride=4,4", ("predict.stride", "3 numbers")),
        ("{run} {scans} predict.maps=entrpy", ("'entrpy'", "did you mean 'entropy'")),
    ],
)
def test_predictions_that_cannot_begin(
    given: str, said: tuple[str, ...], run: Path, phantoms: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    places = {"run": run, "data": phantoms, "scans": phantoms / "imagesTs", "here": tmp_path}
    before = sorted((phantoms / "imagesTs").iterdir())
    words = given.format(**places).split()
    fails(refused, ("predict", *(words if "--out" in words else [*words, "--out", tmp_path / "out"])), *said)
    assert not (tmp_path / "out").exists()
    assert sorted((phantoms / "imagesTs").iterdir()) == before


def two_channels(path: Path, scan: sitk.Image) -> None:
    sitk.WriteImage(sitk.JoinSeries([scan, scan]), str(path))


def of_nan(path: Path, scan: sitk.Image) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((9, 9, 9), np.nan, np.float32)), str(path))


def truncated(path: Path, scan: sitk.Image) -> None:
    sitk.WriteImage(scan, str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("bad.nii.gz", truncated, ("truncated", "download it again")),
        ("bad.nrrd", truncated, ("cannot be read", "download it again")),
        ("bad.nii.gz", two_channels, ("2 channel", "same kind")),
        ("bad.nii.gz", of_nan, ("NaN", "repair it or leave it out")),
        ("bad.png", lambda path, scan: Image.new("L", (20, 20)).save(path), ("picture", "volumes")),
        ("bad.tif", lambda path, scan: path.write_bytes(b"II*\0nothing of use"), ("cannot be read", "remove it")),
        ("bad.h5", lambda path, scan: path.write_bytes(b"\x89HDF\r\n\x1a\nx"), ("cannot be read", "remove it")),
    ],
)
def test_a_bad_scan_among_good_ones_is_named_and_the_good_ones_are_done(
    name: str,
    make: Callable[..., object],
    said: tuple[str, ...],
    run: Path,
    phantoms: Path,
    tmp_path: Path,
    cli: object,
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    good = sorted((phantoms / "imagesTs").iterdir())[0]
    shutil.copy(good, scans)
    make(scans / name, sitk.ReadImage(str(good)))
    done = cli("predict", run, scans, "--out", out, "--device", "cpu")  # type: ignore[operator]
    assert done.code == 2
    last = done.err.strip().splitlines()[-1]
    assert all(part in last for part in ("1 of 2 scans", f"scans/{name}", *said)), last
    manifest = json.loads((out / "manifest.json").read_text())
    assert [case["name"] for case in manifest["cases"]] == ["phantom_008"]
    assert [case["name"] for case in manifest["failed"]] == ["bad"]
    assert not list(out.rglob("bad*"))


def emptied(run: Path, pattern: str) -> None:
    for path in run.rglob(pattern):
        path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    ("fault", "predicts", "said"),
    [
        (lambda run: (run / "config.json").write_text("{"), False, ("config.json", "restore it")),
        (lambda run: (run / "config.json").write_text("{}"), False, ("config.json", "train again")),
        (lambda run: (run / "plan.json").write_text('{"ndim": 3}'), False, ("plan.json", "missing")),
        (lambda run: (run / "plan.json").unlink(), False, ("not a run folder",)),
        (lambda run: emptied(run, "*.safetensors"), False, ("best.safetensors", "train again")),
        (lambda run: (run / "split.json").unlink(), True, ("split.json", "new run")),
        (lambda run: (run / "split.json").write_text("{"), True, ("split.json", "not a saved split")),
    ],
)
def test_damaged_runs_are_named(
    fault: Callable[[Path], object],
    predicts: bool,
    said: tuple[str, ...],
    run: Path,
    phantoms: Path,
    tmp_path: Path,
    refused: Refused,
) -> None:
    shutil.copytree(run, tmp_path / "run")
    fault(tmp_path / "run")
    fails(refused, ("train", "--resume", "--out", tmp_path / "run"), *said)
    if not predicts:
        out = tmp_path / "out"
        fails(refused, ("predict", tmp_path / "run", phantoms / "imagesTs", "--out", out, "--device", "cpu"), *said)
        assert not out.exists()


def test_a_damaged_checkpoint_of_an_unfinished_run_is_named(run: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(run, tmp_path / "run")
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**state, "status": "running", "results": {}}))
    emptied(tmp_path / "run", "checkpoint.pt")
    fails(refused, ("train", "--resume", "--out", tmp_path / "run"), "checkpoint.pt", "delete it")


def test_going_on_needs_a_run(tmp_path: Path, refused: Refused) -> None:
    fails(refused, ("train", "--resume", "--out", tmp_path / "nowhere"), "nowhere", "holds no run", "name a dataset")


def first(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def cropped(folder: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(first(folder)))[:-1], str(first(folder)))


def moved(folder: Path) -> None:
    mask = sitk.ReadImage(str(first(folder)))
    mask.SetOrigin((90.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(first(folder)))


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        (cropped, "", ("phantom_008.nii.gz has 15x21x23", "its label", "predict again")),
        (moved, "", ("phantom_008.nii.gz lies up to", "mm away from its label", "predict again")),
        (lambda folder: first(folder).unlink(), "", ("have no prediction", "phantom_008", "--partial")),
        (lambda folder: first(folder).rename(folder / "x.nii.gz"), "", ("have no prediction", "phantom_008")),
        (lambda folder: truncated(first(folder), sitk.Image(9, 9, 9, 0)), "", ("phantom_008", "download it again")),
        (lambda folder: (folder / "manifest.json").write_text("{"), "", ("manifest.json", "predict again")),
        (None, "--convention strickt", ("'strickt'", "did you mean 'strict'")),
        (None, "--tolerance -1", ("-1", "0 or more")),
        (None, "--tolerance abc", ("--tolerance", "--help")),
        (None, "--group (", ("not a regular expression",)),
        (None, "--images {here}/nowhere", ("nowhere", "check the path")),
    ],
)
def test_evaluations_that_would_mislead(
    change: Callable[[Path], object] | None,
    given: str,
    said: tuple[str, ...],
    phantoms: Path,
    tmp_path: Path,
    refused: Refused,
) -> None:
    masks = tmp_path / "masks"
    shutil.copytree(phantoms / "labelsTs", masks)
    if change is not None:
        change(masks)
    fails(refused, ("evaluate", masks, phantoms / "labelsTs", *given.format(here=tmp_path).split()), *said)
    assert not (masks / "evaluation").exists()


def test_nothing_to_evaluate_is_an_error(phantoms: Path, tmp_path: Path, refused: Refused) -> None:
    labels, empty = phantoms / "labelsTs", tmp_path / "empty"
    empty.mkdir()
    fails(refused, ("evaluate", empty, labels), "empty", "holds no masks", "paucis predict")
    fails(refused, ("evaluate", labels, empty), "empty", "check the path")
    fails(refused, ("evaluate", tmp_path / "nowhere", labels), "nowhere", "check the path")
    fails(refused, ("evaluate", labels, phantoms / "labelsTr", "--out", tmp_path / "out"), "nothing to evaluate")
    fails(refused, ("evaluate", phantoms / "imagesTs", labels, "--out", tmp_path / "out"), "pictures, not masks")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("suite", "given", "said"),
    [
        ("hippocampus-mni", "{data}", ("'hippocampus-mni'", "did you mean", "paucis suites")),
        (b"a: [", "{data}", ("suite 's'", "not YAML")),
        (b"\xff\xfe", "{data}", ("s.yaml", "not UTF-8")),
        (b"mehtods: [supervised]", "{data}", ("'mehtods'", "did you mean 'methods'")),
        (b"methods: [supervized]", "{data}", ("'supervized'", "did you mean 'supervised'")),
        (b"methods: [supervised]\noptions: {train.stps: 3}", "{data}", ("'train.stps'", "did you mean 'train.steps'")),
        (SUITE.encode(), "", ("needs a dataset", "paucis benchmark s DATASET")),
        (SUITE.encode(), "{here}/nowhere", ("nowhere", "name the folder")),
        (SUITE.encode(), "{here}/empty", ("empty folder", "put scans into it")),
        (SUITE.encode(), "{data} --out {here}/empty/../s.yaml", ("s.yaml", "needs a folder")),
        (SUITE.encode(), "{data} --jobs 0", ("--jobs=0", "at least 1")),
        (SUITE.encode(), "{data} --only mean_teacher", ("no method 'mean_teacher'",)),
        (SUITE.encode(), "{data} seed=3", ("'seed'", "copy the suite")),
    ],
)
def test_benchmarks_that_cannot_begin(
    suite: str | bytes, given: str, said: tuple[str, ...], phantoms: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / "s.yaml"
    path.write_bytes(suite if isinstance(suite, bytes) else b"")
    words = given.format(data=phantoms, here=tmp_path).split()
    words += [] if "--out" in words else ["--out", str(tmp_path / "out")]
    fails(refused, ("benchmark", path if isinstance(suite, bytes) else suite, *words), *said)
    assert not list(tmp_path.rglob("results.csv"))
