"""Both plug-ins through training, stopping, going on, loading and predicting, in 2D and 3D."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from paucis.cli import main
from paucis.data.formats import read_label, read_map
from paucis.engine.runs import open_run
from paucis.errors import PaucisError
from paucis.networks import UncertaintySelection
from paucis.workflows.hooks import Hooks
from paucis.workflows.predict import predict
from paucis.workflows.train import train

QUICK = {
    "network.features": 4,
    "network.depth": 2,
    "train.steps": 4,
    "train.batch_size": 2,
    "train.workers": 0,
    "data.workers": 0,
    "train.log_every": 1,
    "checkpoint.every": 1,
    "validation.cases": 1,
    "plug.pdcr.layers": "encoder.0,encoder.1",
    "plug.pdcr.vectors": "12",
}
BOTH = ("pdcr", "uafs")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for index in range(7):
        mask = np.zeros((40, 32), np.uint8)
        mask[8:24, 4 + index : 20] = 255
        image = np.clip(rng.normal(90 + 0.3 * mask[..., None], 25, (40, 32, 3)), 0, 255).astype(np.uint8)
        for folder, array in (("images", image), ("masks", mask)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(root / folder / f"case_{index}.png")
    return root


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "training.csv").open() as lines:
        return list(csv.DictReader(lines))


def begin(dataset: Path, out: Path, method: str, hooks: Hooks | None = None, **options: Any) -> None:
    given = {**QUICK, **options}
    train(dataset, out=out, method=method, labels=3, plugs=BOTH, options=given, hooks=hooks)


@pytest.fixture(scope="module")
def flat(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through the command line."""
    out = tmp_path_factory.mktemp("flat") / "run"
    given = {**QUICK, "data.size": "32,32"}
    arguments = [f"{key}={value}" for key, value in given.items()]
    plugs = ["--plug", "pdcr", "--plug", "uafs", "plug.uafs.sites=encoder,decoder.1"]
    with pytest.raises(SystemExit) as left:
        main(["train", str(pictures), "--out", str(out), "--method", "cps", "--labels", "3", *plugs, *arguments])
    assert left.value.code == 0
    return out


def test_the_losses_of_pdcr_are_recorded_and_added(flat: Path) -> None:
    row = rows(flat)[-1]
    terms = [
        name for name in row if name in ("supervised", "supervised_second", "cross", "pdcr/dragsaw") or "/" in name
    ]
    assert "pdcr/dragsaw" in terms
    assert not any(name.startswith("uafs/") for name in row)
    listed = json.loads((flat / "config.json").read_text())["plugs"]
    assert list(listed) == ["pdcr", "uafs"]
    assert listed["pdcr"]["layers"] == ["encoder.0", "encoder.1"]


def test_uafs_stays_at_inference_with_its_weights_and_pdcr_leaves_nothing(flat: Path) -> None:
    saved = load_file(flat / "stages" / "train" / "last.network.safetensors")
    assert {name.split(".")[1] for name in saved if name.startswith("inserted.")} == {
        "encoder/0",
        "encoder/1",
        "encoder/2",
        "decoder/1",
    }
    run = open_run(flat, weights="last")
    blocks = [part for part in run.method.modules() if isinstance(part, UncertaintySelection)]
    assert len(blocks) == 2 * 4  # two networks
    opened = run.method.networks()[0].state_dict()
    assert all(torch.equal(opened[name], value) for name, value in saved.items())
    assert not any("pdcr" in name for name in run.method.state_dict())


def test_maps_of_blocks_of_pictures_are_pictures_on_request(flat: Path, pictures: Path, tmp_path: Path) -> None:
    done = predict(flat, pictures / "images", out=tmp_path / "out", options={"predict.maps": "entropy,blocks"})
    names = set(done.maps["case_0"])
    assert names == {"entropy", "block_encoder.0", "block_encoder.1", "block_encoder.2", "block_decoder.1"}
    file = done.maps["case_0"]["block_encoder.0"]
    assert file.suffix == ".png"
    values = read_label(file).array
    assert values.shape[-2:] == (40, 32)
    assert 0 <= values.min() < values.max() <= 255
    plain = predict(flat, pictures / "images", out=tmp_path / "plain")
    assert not any(name.startswith("block_") for name in plain.maps["case_0"])


def test_a_run_in_3d_goes_on_with_the_numbers_of_one_that_was_not_stopped(phantoms: Path, tmp_path: Path) -> None:
    options = {"data.patch": "8,16,16", "plug.pdcr.layers": "encoder.0,encoder.1"}
    begin(phantoms, tmp_path / "whole", "mean_teacher", **options)

    def stop(progress: dict[str, Any]) -> None:
        if progress["step"] == 2:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        begin(phantoms, tmp_path / "broken", "mean_teacher", Hooks(report=stop), **options)
    train(None, out=tmp_path / "broken", resume=True)
    whole, mended = rows(tmp_path / "whole"), rows(tmp_path / "broken")
    assert [row["pdcr/dragsaw"] for row in mended] == [row["pdcr/dragsaw"] for row in whole]
    assert [row["loss"] for row in mended] == [row["loss"] for row in whole]
    one, two = (load_file(tmp_path / name / "stages" / "train" / "last.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(name.startswith("teacher.network.inserted.encoder/0") for name in one)
    done = predict(tmp_path / "whole", phantoms / "imagesTs", out=tmp_path / "out", options={"predict.maps": "blocks"})
    case = done.cases[0]
    volume = read_map(done.maps[case]["block_decoder.1"]).array
    assert volume.shape[1:] == read_label(done.masks[case]).array.shape[1:]
    assert 0 <= volume.min() <= volume.max() <= 1


@pytest.mark.parametrize(("method", "space"), [("bcp", "flat"), ("dan", "flat"), ("urpc", "deep"), ("mc_net", "deep")])
def test_methods_of_several_stages_phases_and_decoders_carry_both(
    method: str, space: str, pictures: Path, phantoms: Path, tmp_path: Path
) -> None:
    dataset, size = (pictures, {"data.size": "32,32"}) if space == "flat" else (phantoms, {"data.patch": "8,16,16"})
    begin(dataset, tmp_path / "run", method, **size)
    assert all(float(row["pdcr/dragsaw"]) > 0 for row in rows(tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert any(isinstance(part, UncertaintySelection) for part in run.method.modules())


def test_weights_of_blocks_are_taken_over_by_a_run_that_has_them_too(
    flat: Path, pictures: Path, tmp_path: Path
) -> None:
    options = {**QUICK, "data.size": "32,32", "train.steps": 1, "optimizer.rate": 0.0, "plug.uafs.sites": "encoder"}
    train(pictures, out=tmp_path / "next", labels=3, plugs=BOTH, init=flat, options=options)
    before = load_file(flat / "stages" / "train" / "best.network.safetensors")
    after = load_file(tmp_path / "next" / "stages" / "train" / "last.network.safetensors")
    name = "inserted.encoder/1.segment.0.weight"
    assert torch.equal(before[name], after[name])


def test_what_cannot_be_is_said_in_one_line_before_training(pictures: Path, tmp_path: Path) -> None:
    options = {"data.size": "16,16", "train.steps": 1}
    with pytest.raises(PaucisError, match="covers the whole patch of 16x16"):
        begin(pictures, tmp_path / "a", "supervised", **{**options, "plug.pdcr.layers": "encoder.2"})
    with pytest.raises(PaucisError, match=r"no site 'decoder.7'"):
        begin(pictures, tmp_path / "b", "supervised", **{**options, "plug.uafs.sites": "decoder.7"})
    with pytest.raises(PaucisError, match="carry it by --plug"):
        train(pictures, out=tmp_path / "c", options={"plug.pdcr.weight": 1})
    with pytest.raises(PaucisError, match="must be one of uafs, se, cbam"):
        begin(pictures, tmp_path / "d", "supervised", **{**options, "plug.uafs.block": "sse"})


def test_block_maps_of_a_run_without_blocks_are_refused(pictures: Path, tmp_path: Path) -> None:
    given = {key: value for key, value in QUICK.items() if not key.startswith("plug.")}
    train(pictures, out=tmp_path / "run", options={**given, "data.size": "32,32", "train.steps": 1})
    with pytest.raises(PaucisError, match="no UAFS blocks; train it with --plug uafs"):
        predict(tmp_path / "run", pictures / "images", out=tmp_path / "out", options={"predict.maps": "blocks"})
