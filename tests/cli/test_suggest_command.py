"""``suggest`` through the entry point, on a run of a few steps."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paucis.data.formats import read_label, read_map

QUICK = [
    "network.features=4", "network.depth=2", "network.dropout=0.2", "train.steps=3", "train.batch_size=1",
    "train.workers=0", "data.workers=0", "validation.cases=1", "data.patch=16,16,16",
]  # fmt: skip
DROPOUT = "predict.dropout=3"


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paucis.cli import main

    out = tmp_path_factory.mktemp("runs") / "few"
    with pytest.raises(SystemExit) as left:
        main(["train", str(phantoms), "--labels", "2", "--out", str(out), *QUICK])
    assert not left.value.code
    return out


@pytest.fixture(scope="module")
def free(run: Path) -> set[str]:
    return set(json.loads((run / "split.json").read_text())["unlabeled"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_are_those_of_the_maps_that_predict_writes(
    run: Path, phantoms: Path, free: set[str], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    assert cli("predict", run, phantoms, "--role", "unlabeled", "--out", tmp_path / "p", DROPOUT).code == 0
    naive: dict[str, dict[str, float]] = {"entropy": {}, "mutual_information": {}, "foreground": {}}
    for name in free:
        for which in ("entropy", "mutual_information"):
            naive[which][name] = float(read_map(tmp_path / "p" / "maps" / f"{name}_{which}.nii.gz").array.mean())
        mask = read_label(tmp_path / "p" / f"{name}.nii.gz")
        naive["foreground"][name] = (mask.array > 0).sum() * np.prod(mask.geometry.spacing) / 1000
    for rule, expected in naive.items():
        done = cli("suggest", run, phantoms, DROPOUT, "--rule", rule, "--count", 3, "--out", tmp_path / "next.csv")
        assert done.code == 0, done.err
        found = {row["case"]: float(row["score"]) for row in rows(tmp_path / "next.csv")}
        assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-3, abs=1e-5)
        assert len(found) == 3
        if rule != "foreground":
            assert list(found) == sorted(expected, key=expected.__getitem__, reverse=True)[:3]


@pytest.mark.parametrize("rule", ["random", "core_set"])
def test_each_suggestion_is_a_line_and_a_picture(
    rule: str, run: Path, phantoms: Path, free: set[str], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    out = tmp_path / "to label" / "next.csv"
    done = cli("suggest", run, phantoms, "--rule", rule, "--count", 2, "--out", out, "--json")
    assert done.code == 0, done.err
    told, table = json.loads(done.out), rows(out)
    assert [one["case"] for one in told["suggestions"]] == [row["case"] for row in table]
    assert (told["pool"], told["left_out"]) == (len(free), 3)  # 2 labeled, 1 for validation
    assert [row["rank"] for row in table] == ["1", "2"]
    assert {row["case"] for row in table} <= free
    assert all(Path(row["path"]).is_file() and row["rule"] == rule for row in table)
    assert all(bool(row["score"]) == (rule != "random") for row in table)
    pictures = sorted((out.parent / "next_pictures").glob("*.png"))
    assert [picture.name for picture in pictures] == [f"0{row['rank']}_{row['case']}.png" for row in table]
    for picture in (*pictures, out.with_suffix(".png")):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_stopped_call_goes_on_and_a_changed_scan_is_looked_at_again(
    run: Path, phantoms: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from paucis.workflows import suggestion_figures as module

    pool = tmp_path / "pool"
    shutil.copytree(phantoms / "imagesTs", pool)
    (pool / "phantom_x.nii.gz").write_bytes((phantoms / "imagesTr" / "phantom_001.nii.gz").read_bytes())
    for scan in pool.iterdir():
        scan.rename(pool / f"new_{scan.name}")
    real, seen, stop = module.voxel_figures, [], [1]

    def counted(*given: Any) -> Any:
        if len(seen) in stop:
            stop.clear()
            raise KeyboardInterrupt
        seen.append(1)
        return real(*given)

    monkeypatch.setattr(module, "voxel_figures", counted)
    command = ["suggest", run, pool, "--rule", "entropy", "--count", 1, "--out", tmp_path / "next.csv"]
    assert cli(*command).code == 130
    assert not (tmp_path / "next.csv").exists()
    with (tmp_path / "next_pictures" / ".figures.jsonl").open("a") as notes:
        notes.write('\n{"of": "cut of')
    assert cli(*command).code == 0
    assert len(seen) == 3
    assert cli(*command).code == 0
    assert len(seen) == 3
    scan = sorted(pool.iterdir())[0]
    scan.write_bytes((phantoms / "imagesTr" / "phantom_002.nii.gz").read_bytes())
    assert cli(*command).code == 0
    assert len(seen) == 4


def test_a_damaged_scan_is_told_and_the_others_are_suggested(
    run: Path, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    pool, out = tmp_path / "pool", tmp_path / "next.csv"
    pool.mkdir()
    for number, scan in enumerate(sorted((phantoms / "imagesTr").iterdir())[:3]):
        content = scan.read_bytes()
        (pool / f"new{number}.nii.gz").write_bytes(content[:200] if number == 1 else content)
    for rule in ("random", "entropy"):
        told = refused("suggest", run, pool, "--rule", rule, "--count", 3, "--out", out)
        assert "1 of 3 scans could not be looked at" in told
        assert "new1.nii.gz" in told
        assert {row["case"] for row in rows(out)} == {"new0", "new2"}
    for scan in pool.iterdir():
        scan.write_bytes(b"nothing")
    assert "3 of 3 scans" in refused("suggest", run, pool, "--count", 1, "--out", tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_of_a_patient_one_scan_is_suggested_and_none_of_one_held_out(
    run: Path, phantoms: Path, tmp_path: Path, cli: Callable[..., Any], refused: Callable[..., str]
) -> None:
    split = json.loads((run / "split.json").read_text())
    source = phantoms / "imagesTr" / "phantom_001.nii.gz"
    pool, out = tmp_path / "pool", tmp_path / "next.csv"
    pool.mkdir()
    val, labeled = split["val"][0], split["labeled"][0]
    names = {val: "held", "other_held": "held", labeled: "known", "other_known": "known", "a1_p": "p", "a2_p": "p"}
    with (pool / "manifest.csv").open("w") as file:
        file.write("name,image,patient\n")
        for name, patient in names.items():
            shutil.copy(source, pool / f"{name}.nii.gz")
            file.write(f"{name},{name}.nii.gz,{patient}\n")
    base = ["suggest", run, pool, "--rule", "random", "--out", out]
    assert cli(*base, "--count", 3).code == 0
    assert {row["case"] for row in rows(out)} == {"other_known", "a1_p", "a2_p"}
    assert cli(*base, "--count", 1, "--one-per-patient").code == 0
    assert [row["patient"] for row in rows(out)] == ["p"]
    assert len(list((tmp_path / "next_pictures").glob("*.png"))) == 1  # those of the first call are gone
    assert "1 patients that may be suggested" in refused(*base, "--count", 2, "--one-per-patient")
    assert cli(*base, "--count", 3, "--group", "^(.)").code == 0  # every case a patient of its own first letter


def test_runs_of_an_ensemble_disagree_and_leave_out_what_any_has_labeled(
    run: Path, phantoms: Path, free: set[str], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    split = json.loads((other / "split.json").read_text())
    taken = split["unlabeled"].pop()
    (other / "split.json").write_text(json.dumps({**split, "labeled": [*split["labeled"], taken]}))
    done = cli(
        "suggest", run, phantoms, "--also", other, "--rule", "mutual_information", "--count", len(free) - 1, "--out",
        tmp_path / "next.csv",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {row["case"] for row in rows(tmp_path / "next.csv")} == free - {taken}
    assert all(float(row["score"]) == pytest.approx(0, abs=1e-6) for row in rows(tmp_path / "next.csv"))  # equal runs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{run}", "{data}", "--count", "0", "--out", "{out}/n.csv"], "--count=0"),
        (["{run}", "{data}", "--count", "1", "--seed", "-1", "--out", "{out}/n.csv"], "--seed=-1"),
        (["{run}", "{data}", "--count", "9", "--out", "{out}/n.csv"], "ask for at most 5"),
        (["{run}", "{data}", "--count", "1", "--out", "{out}/n.png"], "must be a .csv file"),
        (["{run}", "{data}", "--count", "1", "--out", "{out}/n.csv", "--rule", "entopy"], "did you mean 'entropy'"),
        (["{run}", "{data}", "--count", "1", "--out", "{out}/n.csv", "--rule", "mutual_information"], "--also RUN"),
        (["{run}", "{data}", "--count", "1", "--out", "{out}/n.csv", "predict.drop=3"], "drop"),
        (["{run}", "{data}", "--count", "1", "--out", "{out}/n.csv", "train.steps=3"], "predict.* only"),
        (["{run}", "{data}/none", "--count", "1", "--out", "{out}/n.csv"], "does not exist"),
        (["{data}", "{data}", "--count", "1", "--out", "{out}/n.csv"], "not a run folder"),
        (["{run}", "{data}", "--count", "1", "--out", "{out}/n.csv", "--group", "("], "regular expression"),
        (["{run}", "{data}", "--count", "one", "--out", "{out}/n.csv"], "'--count'"),
        (["{run}", "{data}", "--out", "{out}/n.csv"], "--count"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, run: Path, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    places = {"run": run, "data": phantoms, "out": tmp_path}
    assert said in refused("suggest", *(text.format(**places) for text in arguments))


def test_pictures_are_suggested_as_volumes_are(tmp_path: Path, cli: Callable[..., Any]) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(7):
        mask = np.zeros((40, 36), np.uint8)
        mask[8 : 20 + number, 10:25] = 255
        for folder, array in (("images", mask // 2 + rng.integers(0, 60, mask.shape, np.uint8)), ("masks", mask)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / folder / f"p{number}.png")
    quick = ["data.patch=16,16" if option.startswith("data.patch") else option for option in QUICK]
    assert cli("train", tmp_path / "data", "--labels", 2, "--out", tmp_path / "run", *quick).code == 0
    for rule in ("foreground", "core_set"):
        out = tmp_path / f"{rule}.csv"
        assert cli("suggest", tmp_path / "run", tmp_path / "data", "--rule", rule, "--count", 2, "--out", out).code == 0
        assert len(rows(out)) == 2
        assert len(list((tmp_path / f"{rule}_pictures").glob("*.png"))) == 2
    assert all(0 <= float(row["score"]) <= 1 for row in rows(tmp_path / "foreground.csv"))  # a share of the image


def test_a_scan_that_is_labeled_is_not_suggested(
    run: Path, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    name = json.loads((run / "split.json").read_text())["labeled"][0]
    scan = phantoms / "imagesTr" / f"{name}.nii.gz"
    assert "is labeled or held out" in refused("suggest", run, scan, "--count", 1, "--out", tmp_path / "n.csv")


def test_the_core_set_says_where_the_labeled_scans_should_be(
    run: Path, phantoms: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    moved, pool = tmp_path / "moved", tmp_path / "pool"
    shutil.copytree(run, moved)
    pool.mkdir()
    shutil.copy(phantoms / "imagesTr" / "phantom_001.nii.gz", pool / "new.nii.gz")
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "dataset": str(tmp_path / "gone")}))
    told = refused("suggest", moved, pool, "--rule", "core_set", "--count", 1, "--out", tmp_path / "n.csv")
    assert "gone is not there: bring it back, or take another --rule" in told
