from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paucis.data.formats import read_label, read_map
from paucis.workflows.embed import embed

QUICK = [
    "network.features=4", "network.depth=2", "method.transformer_width=6", "method.dim=8", "train.steps=2",
    "train.batch_size=1", "train.workers=0", "data.workers=0", "validation.cases=1", "data.patch=16,16,16",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paucis.cli import main

    out = tmp_path_factory.mktemp("runs") / "ugpcl"
    with pytest.raises(SystemExit) as left:
        main(["train", str(phantoms), "--method", "ugpcl", "--labels", "3", "--out", str(out), *QUICK])
    assert not left.value.code
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_points_of_each_class_lie_beside_their_picture(
    run: Path, phantoms: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    out = tmp_path / "pictures" / "pixels.png"
    done = cli("embed", run, phantoms, "--out", out, "--per-class", 12, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert out.read_bytes().startswith(b"\x89PNG")
    table = rows(out.with_suffix(".csv"))
    assert dict(Counter(row["class"] for row in table)) == found["points"]
    assert set(found["points"].values()) == {12}
    assert found["referenced"] is True
    assert len({row["case"] for row in table}) > 1
    for row in table:
        assert int(row["correct"]) == (row["class"] == row["predicted"])
        assert 0 <= float(row["uncertainty"]) <= 1


def test_the_class_is_that_of_the_label_at_the_voxel(run: Path, phantoms: Path, tmp_path: Path) -> None:
    from paucis.data.layouts import recognize
    from paucis.data.preparation import prepare_label
    from paucis.engine.runs import open_run

    embed(run, phantoms, out=tmp_path / "pixels.png", per_class=20)
    plan = open_run(run, "cpu").plan
    labels = {case.name: case.label for case in recognize(phantoms).cases if case.label is not None}
    grids = {name: prepare_label(read_label(path), plan) for name, path in labels.items()}
    for row in rows(tmp_path / "pixels.csv"):
        place = tuple(int(row[axis]) for axis in "zyx")
        assert plan.classes[grids[row["case"]][place]] == row["class"]


def test_the_seed_repeats_the_points_and_another_draws_others(run: Path, phantoms: Path, tmp_path: Path) -> None:
    tables = []
    for number, seed in enumerate((3, 3, 4)):
        embed(run, phantoms, out=tmp_path / f"{number}.png", per_class=10, seed=seed, role="val")
        tables.append(
            [{k: v for k, v in row.items() if not k.startswith("tsne")} for row in rows(tmp_path / f"{number}.csv")]
        )
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]
    names = set(json.loads((run / "split.json").read_text())["val"])
    assert {row["case"] for row in tables[0]} <= names


def test_without_labels_the_predicted_class_is_shown(
    run: Path, phantoms: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    done = cli("embed", run, phantoms / "imagesTs", "--out", tmp_path / "p.png", "--per-class", 30)
    assert done.code == 0, done.err
    assert "predictions, since no scan has a label" in done.out
    table = rows(tmp_path / "p.csv")
    assert all(row["correct"] == "" and row["class"] == row["predicted"] for row in table)


def test_features_are_the_methods_own(
    run: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[np.ndarray[Any, Any]] = []

    def spy(features: np.ndarray[Any, Any], *, seed: int) -> np.ndarray[Any, Any]:
        given.append(features)
        return np.zeros((len(features), 2))

    monkeypatch.setattr("paucis.workflows.embed.project", spy)
    embed(run, phantoms, out=tmp_path / "p.png", per_class=5)
    assert given[0].shape[1] == 8  # method.dim
    lengths = np.linalg.norm(given[0], axis=1)  # interpolated between embeddings of length 1
    assert ((lengths > 0.01) & (lengths < 1.0001)).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{run}", "{data}", "--out", "{out}/p.jpg"], "must be a .png file"),
        (["{run}", "{data}", "--out", "{out}/p.png", "--per-class", "0"], "--per-class=0"),
        (["{run}", "{data}", "--out", "{out}/p.png", "--per-class", "1"], "pixels were found"),
        (["{run}", "{data}", "--out", "{out}/p.png", "--role", "vall"], "must be one of val"),
        (["{run}", "{data}/imagesTs", "--out", "{out}/p.png", "--role", "val"], "gives the role 'val'"),
        (["{run}", "{data}/none", "--out", "{out}/p.png"], "does not exist"),
        (["{data}", "{data}", "--out", "{out}/p.png"], "not a run folder"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, run: Path, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    places = {"run": run, "data": phantoms, "out": tmp_path}
    assert said in refused("embed", *(text.format(**places) for text in arguments))


def test_prediction_writes_the_methods_own_uncertainty_and_both_decoders_masks(
    run: Path, phantoms: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    scan = sorted((phantoms / "imagesTs").iterdir())[0]
    done = cli("predict", run, scan, "--out", tmp_path, "predict.maps=entropy,own,members")
    assert done.code == 0, done.err
    classes = len(json.loads((run / "plan.json").read_text())["classes"])
    (own,) = tmp_path.rglob("*_uncertainty.nii.gz")
    values = read_map(own).array
    assert 0 < values.max() <= np.log(classes) + 1e-4
    (entropy,) = tmp_path.rglob("*_entropy.nii.gz")
    assert not np.allclose(values, read_map(entropy).array * np.log(classes), atol=1e-3)
    assert list(tmp_path.rglob("*transformer*"))
