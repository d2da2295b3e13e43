"""From images without labels to a network that a training starts from, through the real command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from making_dicom import noise, series
from paucis.cli import main
from paucis.data.case import Geometry
from paucis.data.formats import write_map
from paucis.data.layouts import recognize
from paucis.data.options import DataOptions
from paucis.data.split import make_split
from paucis.engine.runs import open_run
from paucis.workflows.benchmark.running import benchmark
from paucis.workflows.benchmark.suite import find as find_suite
from paucis.workflows.hooks import Hooks
from paucis.workflows.pretrain import pretrain
from paucis.workflows.recipes import find, shipped
from paucis.workflows.report.subject import read_subject
from paucis.workflows.train import train

QUICK = {
    "network.features": 4,
    "method.dim": 8,
    "method.clusters": 3,
    "train.steps": 5,
    "train.unlabeled_batch_size": 2,
    "train.workers": 0,
    "data.workers": 0,
    "train.log_every": 1,
}
SUPERVISED = {name: value for name, value in QUICK.items() if not name.startswith("method.")} | {
    "train.batch_size": 2,
    "validation.cases": 1,
    "optimizer.rate": 0.01,
}


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


def given(values: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def pictures(root: Path, count: int = 6, mode: str = "RGB", masks: bool = False) -> Path:
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    for index in range(count):
        array = rng.integers(0, 255, (32, 32, 3) if mode == "RGB" else (32, 32), dtype=np.uint8)
        Image.fromarray(array).save(root / "images" / f"case_{index}.png")
        if masks:
            mask = np.zeros((32, 32), np.uint8)
            mask[8:20, 8 + index : 24] = 255
            (root / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / "masks" / f"case_{index}.png")
    return root


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "training.csv").open() as lines:
        return list(csv.DictReader(lines))


def network(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run / "stages" / stage / "last.network.safetensors")


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("pictures") / "set", masks=True)


@pytest.fixture(scope="module")
def pretrained(labeled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "ld"
    assert call("pretrain", labeled / "images", "--out", out, "network=unet", *given(QUICK)) == 0
    return out


def test_a_folder_of_pictures_is_enough(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(pretrained)
    assert [(row["stage"], row["step"]) for row in found] == [
        ("patches", "1"),
        *[("regions", str(k)) for k in range(1, 5)],
    ]
    assert {"patches", "mixup", "regions", "entropy", "agreement", "clusters_used"} <= set(found[-1])
    split = json.loads((pretrained / "split.json").read_text())
    assert len(split["unlabeled"]) == 6
    assert split["labeled"] == split["val"] == split["test"] == []
    assert json.loads((pretrained / "plan.json").read_text())["channels"] == ["red", "green", "blue"]
    assert network(pretrained, "patches").keys() == network(pretrained, "regions").keys()
    run = open_run(pretrained)
    with torch.no_grad():
        vectors = run.method.embed(torch.zeros(1, 3, 32, 32))
    assert vectors.shape == (1, 8, 32, 32)


def test_the_images_of_several_folders_are_one_set_and_each_is_held_out_as_alone(
    labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pictures(tmp_path / "other", 4)
    monkeypatch.chdir(tmp_path)
    options = {**QUICK, "train.steps": 2, "data.test": 0.5, "data.validation": 0}
    assert call("pretrain", labeled, "other", "--out", "run", "network=unet", *given(options)) == 0
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    alone = make_split(recognize(labeled), DataOptions(test=0.5, validation=0))
    assert len(split["test"]) == len(alone.test) == 3
    both = {f"case_{k}" for k in range(4)}  # are in the two folders
    assert set(split["test"]) == {f"{labeled.name}_{name}" if name in both else name for name in alone.test}
    assert {name for name in split["unlabeled"] if name.startswith("other_")} == {f"other_case_{k}" for k in range(4)}
    told = read_subject("run", tmp_path / "run", None).dataset
    assert {case.name for case in told.cases} == {*split["unlabeled"], *split["test"]}
    monkeypatch.chdir(tmp_path.parent)
    assert call("pretrain", "--resume", "--out", tmp_path / "run", "train.steps=3") == 0
    assert [row["step"] for row in rows(tmp_path / "run")][-1] == "2"
    assert call("pretrain", labeled, "--resume", "--out", tmp_path / "run") == 2
    assert "was begun on 2 folders: name as many, or none" in capsys.readouterr().err
    gray = pictures(tmp_path / "gray", 2, "L")
    assert call("pretrain", other, gray, "--out", tmp_path / "no", "network=unet", *given(QUICK)) == 2
    assert "the channels are red, green, blue, and image" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_labels_of_whole_images_come_from_a_table_by_name(
    labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grades.csv").write_text("image,grade\n" + "".join(f"case_{k}.png,{k % 2}\n" for k in range(6)))
    small = {name: value for name, value in QUICK.items() if not name.startswith("method.")} | {"checkpoint.every": 1}
    words = ("pretrain", labeled / "images", "--method", "classification", "network=unet", *given(small))
    assert call(*words, "--out", "run", "method.labels=grades.csv") == 0
    assert {"classification", "accuracy"} <= set(rows(tmp_path / "run")[-1])
    monkeypatch.chdir(tmp_path.parent)
    assert call("pretrain", "--resume", "--out", tmp_path / "run", "train.steps=6") == 0, "from another folder too"
    out = tmp_path / "transferred"
    train(labeled, out=out, labels=2, init=tmp_path / "run", options={**SUPERVISED, "network": "unet"})
    capsys.readouterr()
    (tmp_path / "short.csv").write_text("image,grade\ncase_0,1\ncase_1,0\n")
    (tmp_path / "same.csv").write_text("image,grade\n" + "".join(f"case_{k},1\n" for k in range(6)))
    for table, said in {
        "short.csv": "no row for 4 of 6 images, such as 'case_2'",
        "same.csv": "all 6 images are of one class",
        "none.csv": "cannot be read",
        None: "method.labels=FILE.csv",
    }.items():
        asked = [] if table is None else [f"method.labels={tmp_path / table}"]
        assert call(*words, "--out", tmp_path / "no", *asked) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) == 1
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["inst_disc", "global_local"])
def test_comparators_are_stopped_and_go_on_with_what_they_remember(name: str, labeled: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(state: dict[str, Any]) -> None:
        if state["step"] == 2 and state["stage"] in ("train", "local"):
            raise Stop

    small = {name: value for name, value in QUICK.items() if not name.startswith("method.clusters")}
    options = {**small, "network": "unet", "checkpoint.every": 1, "train.steps": 6}
    whole = pretrain(labeled / "images", out=tmp_path / "whole", method=name, options=options)
    with pytest.raises(Stop):
        pretrain(labeled / "images", out=tmp_path / "run", method=name, options=options, hooks=Hooks(report=stop))
    pretrain(out=tmp_path / "run", resume=True)
    last = list(whole.results)[-1]
    one, two = (load_file(tmp_path / run / "stages" / last / "last.safetensors") for run in ("whole", "run"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    if name == "inst_disc":
        assert one["bank.vectors"].shape == (6, 8)


@pytest.mark.parametrize("kind", ["gray", "volumes", "slices", "dicom"])
def test_gray_pictures_volumes_their_slices_and_dicom_are_read(kind: str, tmp_path: Path) -> None:
    folder, more = tmp_path / "scans", {}
    if kind == "gray":
        pictures(folder, 3, "L")
    elif kind == "dicom":
        for number in range(3):
            series(folder / f"case{number}", noise((8, 16, 16), number), patient=f"P{number}", spacing=(1.0, 0.9, 0.9))
        more = {"data.patch": "8,16,16", "network.depth": 2}
    else:
        for number in range(3):
            write_map(folder / f"case{number}.nii.gz", noise((10, 18, 20), number).astype(np.float32), Geometry())
        more = {"data.dims": "2", "data.patch": "16,16"} if kind == "slices" else {"data.patch": "8,16,16"}
        more["network.depth"] = 2
    done = pretrain(folder, out=tmp_path / "run", options={**QUICK, **more, "train.steps": 2, "network": "unet"})
    assert done.finished
    assert list(done.results) == ["patches", "regions"]
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["ndim"] == (2 if kind in ("gray", "slices") else 3)


def test_no_label_is_opened_and_held_out_cases_are_left_alone(labeled: Path, tmp_path: Path) -> None:
    broken = tmp_path / "set"
    for folder in ("images", "masks"):
        (broken / folder).mkdir(parents=True)
        for file in sorted((labeled / folder).iterdir()):
            content = file.read_bytes() if folder == "images" else b"not a picture"
            (broken / folder / file.name).write_bytes(content)
    out = tmp_path / "run"
    pretrain(broken, out=out, options={**QUICK, "train.steps": 2, "data.unlabeled": 3, "data.test": 0.2})
    split = json.loads((out / "split.json").read_text())
    assert len(split["unlabeled"]) == 3
    assert split["val"]
    assert split["test"]
    assert not set(split["unlabeled"]) & {*split["val"], *split["test"]}


def test_a_stopped_pretraining_goes_on_with_the_same_numbers(labeled: Path, pretrained: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(state: dict[str, Any]) -> None:
        if (state["stage"], state["step"]) == ("regions", 2):
            raise Stop

    options, out = {**QUICK, "checkpoint.every": 1, "network": "unet"}, tmp_path / "run"
    with pytest.raises(Stop):
        pretrain(labeled / "images", out=out, options=options, hooks=Hooks(report=stop))
    assert call("pretrain", "--resume", "--out", out) == 0
    whole, again = network(pretrained, "regions"), network(out, "regions")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert [row["loss"] for row in rows(out)] == [row["loss"] for row in rows(pretrained)]


def test_a_training_starts_from_it_with_a_still_encoder_and_then_moves_all(
    labeled: Path, pretrained: Path, tmp_path: Path
) -> None:
    found = {}
    for share in ("1", "none", "0"):
        out = tmp_path / share
        options = {**SUPERVISED, "train.frozen": share, "network": "unet", "network.normalization": "batch"}
        train(labeled, out=out, labels=2, init=_batch_normalized(pretrained, tmp_path), options=options)
        found[share] = network(out, "train")
    begun = network(tmp_path / "pre", "regions")
    encoder = [name for name in begun if name.startswith("encoder.")]
    decoder = [name for name in begun if name.startswith("decoder.") and name.endswith("weight")]
    assert any("running_mean" in name for name in encoder)
    assert all(torch.equal(found["1"][name], begun[name]) for name in encoder)
    assert any(not torch.equal(found["1"][name], begun[name]) for name in decoder)
    tracked = next(name for name in encoder if name.endswith("num_batches_tracked"))
    moved = {share: int(state[tracked]) - int(begun[tracked]) for share, state in found.items()}
    assert moved == {"1": 0, "none": 2, "0": 5}, "half of five steps, rounded up, are taken with a still encoder"


def _batch_normalized(pretrained: Path, folder: Path) -> Path:
    out = folder / "pre"
    if not out.exists():
        source = json.loads((pretrained / "config.json").read_text())["dataset"]
        pretrain(source, out=out, options={**QUICK, "network": "unet", "network.normalization": "batch"})
    return out


def test_what_it_prints_at_its_end_is_a_command_that_starts_from_it(
    labeled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, quick = tmp_path / "ld", {**QUICK, "method.warmup": 1, "train.steps": 1}
    assert call("pretrain", labeled / "images", "--out", run, "network=unet", *given(quick)) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("start from it with: ")]
    words = line.split(": ", 1)[1].replace("DATASET", str(labeled)).replace("--out RUN", f"--out {tmp_path / 'next'}")
    small = {key: value for key, value in SUPERVISED.items() if not key.startswith("network.")}
    assert call(*words.split()[1:], *given(small)) == 0


def test_weights_of_another_network_are_refused_by_naming_it(
    labeled: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call("train", labeled, "--out", out, "--init", pretrained, "network=vnet", "train.workers=0") == 2
    error = capsys.readouterr().err
    assert "its network is another one" in error
    assert "give network=unet network.features=4" in error
    assert not out.exists()


def test_the_encoder_alone_can_be_taken_over(labeled: Path, pretrained: Path, tmp_path: Path) -> None:
    options = {**SUPERVISED, "network": "unet", "train.frozen": "1", "train.steps": 1, "optimizer.rate": 0}
    states = {}
    for taken in ("all", "encoder"):
        train(labeled, out=tmp_path / taken, labels=2, init=pretrained, options={**options, "train.taken": taken})
        states[taken] = network(tmp_path / taken, "train")
    begun = network(pretrained, "regions")
    inner = [name for name in begun if name.startswith("decoder.blocks") and begun[name].ndim > 1]
    assert all(torch.equal(states["all"][name], begun[name]) for name in inner)
    assert not any(torch.equal(states["encoder"][name], begun[name]) for name in inner)
    assert all(torch.equal(states["encoder"][name], begun[name]) for name in begun if name.startswith("encoder."))


@pytest.mark.parametrize("recipe", [recipe.name for recipe in shipped() if recipe.values.get("method") == "ld"])
def test_every_recipe_of_it_trains_two_steps(recipe: str, labeled: Path, tmp_path: Path) -> None:
    small = {"data.size": "32,32", "train.steps": 2, "train.unlabeled_batch_size": 2, "train.workers": 0}
    small |= {"data.patch": "32,32"} if "data.patch" in find(recipe).values else {}
    assert (
        call("pretrain", labeled, "--recipe", recipe, "--out", tmp_path / "run", *given(small), "data.workers=0") == 0
    )
    assert open_run(tmp_path / "run").method.name == "ld"


def test_rows_of_suites_start_from_a_pretraining_in_the_folder_they_are_called_in(
    labeled: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "mine").symlink_to(pretrained)
    monkeypatch.chdir(tmp_path)
    suite = tmp_path / "suite.yaml"
    row = {"name": "ld", "method": "supervised", "options": {"init": "pretrained/mine"}}
    options = {**SUPERVISED, "network": "unet", "data.test": 0.4, "data.validation": 0, "train.steps": 4}
    content = {"description": "s", "needs": "d", "options": options, "methods": ["supervised", row], "labels": [2]}
    suite.write_text(json.dumps(content | {"seeds": [0], "evaluation": {"weights": "last"}}))
    assert call("benchmark", suite, labeled, "--out", tmp_path / "out", "--keep") == 0
    with (tmp_path / "out" / "results.csv").open() as lines:
        assert {row["name"] for row in csv.DictReader(lines)} == {"supervised", "ld"}
    (config,) = [
        one for file in (tmp_path / "out").rglob("config.json") if (one := json.loads(file.read_text())).get("init")
    ]
    assert (tmp_path / config["init"]).samefile(pretrained)


@pytest.fixture(scope="module")
def tiny_vgg(labeled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining of the suites' network in two steps."""
    out, small = tmp_path_factory.mktemp("runs") / "vgg", {name: QUICK[name] for name in QUICK if name[:7] != "network"}
    options = {**small, "network": "vgg_unet", "data.size": "32,32", "train.steps": 2}
    return pretrain(labeled / "images", out=out, options=options).folder


@pytest.mark.parametrize("name", ["jsrt-ld", "montgomery-ld", "vessels-ld", "jsrt-ld-ablation"])
def test_a_row_of_every_suite_on_pretrainings_trains_two_steps(
    name: str, labeled: Path, tiny_vgg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").mkdir()
    rows = {entry.name: entry.options["init"] for entry in find_suite(name).entries if "init" in entry.options}
    for place in set(rows.values()):
        Path(place).symlink_to(tiny_vgg)
    row = next(iter(rows))
    suite = replace(find_suite(name), labels=("2",), seeds=(0,))
    sizes = {"data.size": "32,32", "data.patch": "32,32", "train.batch_size": 2}
    small = {**sizes, "train.steps": 2, "train.workers": 0, "data.workers": 0}
    done = benchmark(suite, labeled, out=tmp_path / "out", only=(row,), options=small)
    assert (done.finished, done.failed, done.refused) == (1, {}, {})
    with (tmp_path / "out" / "results.csv").open() as lines:
        (found,) = csv.DictReader(lines)
    assert (found["name"], found["status"]) == (row, "finished")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "SET", "--method", "ld"], "paucis pretrain IMAGES --method ld"),
        (["pretrain", "SET", "--method", "supervised"], "is no pretraining (classification, densecl, emb_inva"),
        (["train", "SET", "train.frozen=0.5"], "train.frozen keeps what --init gives"),
        (["pretrain", "SET", "method.grid=99"], "more patches than the crop"),
        (["pretrain"], "which dataset?"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_leaves_nothing(
    words: list[str], said: str, labeled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = [str(labeled) if word == "SET" else word for word in words]
    assert call(*words, "--out", out, "network.features=4", "train.steps=2", "data.workers=0", "train.workers=0") == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.realdata
def test_real_chest_x_rays_of_one_hospital_start_a_training_on_those_of_another(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = {"network": "vgg_unet", "data.size": "32,32", "train.workers": 0, "data.workers": 0, "train.steps": 2}
    own = {**small, "data.unlabeled": 6, "train.unlabeled_batch_size": 4}
    pretrain(real_data / "shenzhen_unlabeled", out=tmp_path / "ld", options=own)
    with caplog.at_level("WARNING", logger="paucis"):
        done = train(
            real_data / "jsrt",
            out=tmp_path / "run",
            labels=2,
            init=tmp_path / "ld",
            options={**small, "train.batch_size": 2, "validation.cases": 1},
        )
    assert done.finished
    assert "147 of the network's 149 tensors loaded" in caplog.text, "all but the head, which has other classes"


@pytest.mark.realdata
def test_real_fundus_pictures_of_two_datasets_are_one_set(real_data: Path, tmp_path: Path) -> None:
    small = {"network": "vgg_unet", "data.size": "32,32", "train.steps": 2, "train.unlabeled_batch_size": 4}
    folders = [real_data / "drive", real_data / "chase_db1"]
    done = pretrain(folders, out=tmp_path / "ld", options={**small, "train.workers": 0, "data.workers": 0})
    assert done.finished
    names = json.loads((tmp_path / "ld" / "split.json").read_text())["unlabeled"]
    assert len(names) == 40
    assert sum(name.startswith("Image_") for name in names) == 20


def test_it_predicts_nothing_and_says_so(
    labeled: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("predict", pretrained, labeled / "images", "--out", tmp_path / "masks") == 2
    assert "is a pretraining and predicts no classes" in capsys.readouterr().err
