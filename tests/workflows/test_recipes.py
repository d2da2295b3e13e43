"""Every shipped recipe trains two steps through the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paucis.batch import Task
from paucis.cli import main
from paucis.data.case import Geometry
from paucis.data.formats import write_map, write_mask
from paucis.data.phantom import phantom
from paucis.engine.config import resolve
from paucis.errors import PaucisError
from paucis.methods.base import METHODS
from paucis.networks import make
from paucis.plugins.pdcr import encoder_fields
from paucis.plugins.uafs import chosen_sites
from paucis.workflows.recipes import find, shipped

SMALL = {
    "train.steps": "2",
    "train.batch_size": "2",
    "train.workers": "0",
    "data.workers": "0",
    "validation.cases": "1",
}
OWN_NETWORK = {
    "unet": {"network.features": "4"},
    "vnet": {"network.filters": "4"},
    "resnet50_unet": {"network.backbone": "resnet18", "network.widths": "8,8,4,4,4", "network.pretrained": "none"},
    "deeplabv3plus": {"network.backbone": "resnet18", "network.width": "8", "network.pretrained": "none"},
}
OWN_PLUGS = {"plug.pdcr.layers": "encoder.0", "plug.pdcr.vectors": "8", "plug.uafs.sites": "encoder,decoder"}
OWN_METHOD = {
    "ugpcl": {"method.transformer_width": "6", "method.dim": "8"},
    "multicure": {"method.second": "none"},
}
AUA = ["aua-hippocampus-small", "aua-acdc-small", "aua-la-16"]
RECIPES = shipped()
PLUGGED = [recipe.name for recipe in RECIPES if recipe.plugs]
MULTICURE = [recipe.name for recipe in RECIPES if recipe.values.get("method") == "multicure"]
UGPCL = [recipe.name for recipe in RECIPES if recipe.values.get("method") == "ugpcl"]
TRIED = ["demo", "hippocampus-8", "acdc-7", "isic", *AUA, *UGPCL, *MULTICURE, *PLUGGED]
UNLABELED = [r.name for r in RECIPES if not METHODS.get(r.values.get("method", "supervised")).uses_labeled]
REST = [recipe.name for recipe in RECIPES if recipe.name not in (*TRIED, *UNLABELED)]


def pictures(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(8):
        image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        mask[16:40, 10 + index : 40] = 255
        for folder, array in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"case_{index}.png")
    return root


def stacks(root: Path) -> Path:
    """Four patients of two short stacks each, thick slices, nnU-Net raw."""
    for patient in range(4):
        for frame in (1, 9):
            image, labels = phantom((6, 48, 48), 10 * patient + frame)
            name, geometry = f"patient{patient:03}_frame{frame:02}", Geometry(spacing=(10.0, 1.5, 1.5))
            write_map(root / "imagesTr" / f"{name}_0000.nii.gz", image.astype(np.float32), geometry)
            write_mask(root / "labelsTr" / f"{name}.nii.gz", labels, geometry)
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1, "b": 2, "c": 3, "d": 4}}
    (root / "dataset.json").write_text(json.dumps({**description, "numTraining": 8, "file_ending": ".nii.gz"}))
    return root


@pytest.fixture(scope="module")
def miniatures(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("miniatures")
    return {"volumes": phantoms, "pictures": pictures(root / "pictures"), "stacks": stacks(root / "stacks")}


def miniature_of(values: dict[str, object]) -> str:
    if "data.group" in values:
        return "stacks"
    return "pictures" if "data.size" in values else "volumes"


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES])
def test_a_recipe_resolves(recipe: str) -> None:
    found = find(recipe)
    assert found.description
    assert resolve("d", found.values, found.plugs).train.steps >= 1


@pytest.mark.parametrize("recipe", [*TRIED, *(pytest.param(name, marks=pytest.mark.heavy) for name in REST)])
def test_a_recipe_trains_two_steps(recipe: str, miniatures: dict[str, Path], tmp_path: Path) -> None:
    values = find(recipe).values
    changed = {
        **SMALL,
        **OWN_NETWORK[str(values.get("network", "unet"))],
        **OWN_METHOD.get(str(values.get("method")), {}),
    }
    if find(recipe).plugs:
        changed |= OWN_PLUGS
    if "train.unlabeled_batch_size" in values:
        changed["train.unlabeled_batch_size"] = "2"
    if "labels" in values:
        changed["labels"] = "2"
    if "data.size" in values:
        changed["data.size"] = "64,64" if values.get("method") == "ugpcl" else "32,32"
    elif "data.patch" in values:
        changed["data.patch"] = "32,32,32"
    dataset = miniatures[miniature_of(values)]
    overrides = [f"{key}={value}" for key, value in changed.items()]
    with pytest.raises(SystemExit) as left:
        main(["train", str(dataset), "--out", str(tmp_path / "run"), "--recipe", recipe, *overrides])
    assert left.value.code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_plugged_recipes_name_sites_and_layers_that_their_networks_have() -> None:
    """Of the published encoder, whose fields are those of its paper, and of a planned U-Net in 3D."""
    flat = find("pdcr-isic-2017").values
    network = make("deeplabv3plus", Task(2, 3, 2, (384, 512)), {"backbone": "tu-xception41"})
    fields = encoder_fields(network, str(flat["plug.pdcr.layers"]).split(","), (384, 512))
    assert [field.size[0] for field in fields.values()] == [7, 19, 43]
    for name in ("pdcr-isic-2016", "pdcr-isic-2017", "pdcr-ph2", "pdcr-montgomery", "pdcr-digestpath"):
        values = find(name).values
        assert values["plug.pdcr.layers"] == flat["plug.pdcr.layers"]
        assert len(chosen_sites(network, str(values["plug.uafs.sites"]).split(","))) == 7
    deep = make("unet", Task(3, 1, 3, (96, 96, 96), strides=((2, 2, 2),) * 4), {"features": 2})
    for name in ("pdcr-brain", "pdcr-heart", "pdcr-prostate"):
        layers = str(find(name).values["plug.pdcr.layers"]).split(",")
        assert [field.size[0] for field in encoder_fields(deep, layers, (96, 96, 96)).values()] == [23, 47]


def test_a_recipe_file_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("description: mine\noptions: {train.steps: 5}\n")
    assert find(str(file)).values == {"train.steps": 5}
    file.write_text("options: [1]\n")
    with pytest.raises(PaucisError, match="must hold"):
        find(str(file))
    file.write_text("stesp: 3\n")
    with pytest.raises(PaucisError, match="unknown entry 'stesp'"):
        find(str(file))
