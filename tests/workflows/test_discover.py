"""From images without labels and masks of other curves to masks, through the real command line."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file

from paucis.batch import IGNORE
from paucis.cli import main
from paucis.data.case import Geometry
from paucis.data.formats import write_map, write_mask
from paucis.engine.runs import open_run
from paucis.workflows.discover import discover
from paucis.workflows.hooks import Hooks
from paucis.workflows.recipes import find
from paucis.workflows.shape_course import ShapeCourse, read_course

QUICK = {
    "network": "unet",
    "network.features": 4,
    "method.dim": 8,
    "method.clusters": 3,
    "method.views": 2,
    "train.steps": 10,
    "train.unlabeled_batch_size": 2,
    "train.batch_size": 2,
    "train.workers": 0,
    "data.workers": 0,
    "train.log_every": 1,
}


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


def given(values: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def curve(rng: np.random.Generator, size: int = 32) -> np.ndarray[Any, Any]:
    """Two bent lines."""
    y, x = np.mgrid[:size, :size] - size / 2
    mask = np.zeros((size, size), bool)
    for _ in range(2):
        angle, shift, bend = rng.uniform(0, np.pi), rng.uniform(-6, 6), rng.uniform(-0.02, 0.02)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        mask |= np.abs(across - shift - bend * along**2) < 1.3
    return mask


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright lines on a dark disc; masks of other lines; masks of the disc."""
    root, rng = tmp_path_factory.mktemp("toy"), np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-16:16, -16:16] + 0.5) < 14
    for folder in ("images", "shapes", "fields"):
        (root / folder).mkdir()
    for number in range(4):
        image = np.where(disc, 60 + 120 * curve(rng) + rng.normal(0, 8, (32, 32)), 0)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"c{number}.png")
        Image.fromarray(255 * curve(rng, 40).astype(np.uint8)).save(root / "shapes" / f"s{number}.png")
        Image.fromarray(255 * disc.astype(np.uint8)).save(root / "fields" / f"c{number}.png")
    return root


@pytest.fixture(scope="module")
def run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["--field", "auto", "--out", out, *given(QUICK), "method.weighting=certain,uniform"]
    assert call("discover", toy / "images", "--shapes", toy / "shapes", *words) == 0
    return out


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "training.csv").open() as lines:
        return list(csv.DictReader(lines))


def mask(folder: Path, name: str = "c0") -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(folder / f"{name}.png"))


def test_every_stage_leaves_weights_figures_and_the_curve_of_what_is_found(run: Path, toy: Path) -> None:
    found = rows(run)
    steps = {"patches": 1, "shapes": 6, "refined_certain": 2, "refined_uniform": 2}
    assert [row["stage"] for row in found] == [stage for stage, count in steps.items() for _ in range(count)]
    shaped = [row for row in found if row["stage"] == "shapes"]
    assert all(row["adversarial"] and row["discriminator"] and row["told_apart"] for row in shaped)
    references = np.mean([np.asarray(Image.open(file)) > 0 for file in (toy / "shapes").iterdir()])
    drawn = np.mean([float(row["shape_share"]) for row in shaped])
    assert 0.5 * references < drawn < 3 * references, "masks thicken a little"
    course = read_course(run / "training.csv")
    assert course is not None
    assert len(course.steps) == len(shaped)
    assert np.asarray(Image.open(run / "shapes.png")).shape[0] > 100
    plan = json.loads((run / "plan.json").read_text())
    assert (plan["classes"], plan["values"], plan["field"]) == (["background", "shape"], [0, 255], "auto")


def test_every_answer_is_predicted_and_nothing_lies_outside_the_field_of_view(
    run: Path, toy: Path, tmp_path: Path
) -> None:
    inside = mask(toy / "fields") > 0
    seen = {}
    for output in ("refined", "clustering", "clusters", "refined_uniform"):
        out = tmp_path / output
        words = ["--output", output, "predict.maps=probabilities"]
        assert call("predict", run, toy / "images", "--out", out, *words) == 0
        assert set(np.unique(mask(out))) <= {0, 255}
        assert not mask(out)[~inside].any()
        share = tifffile.imread(out / "maps" / "c0_probability_255.tiff")
        assert (share[~inside] == 0).all()
        assert share[inside].max() > 0
        seen[output] = share
    assert call("predict", run, toy / "images", "--out", tmp_path / "default", "predict.maps=probabilities") == 0
    default = tifffile.imread(tmp_path / "default" / "maps" / "c0_probability_255.tiff")
    assert np.array_equal(default, seen["refined"])
    assert len({one.tobytes() for one in seen.values()}) == 4


def test_the_labels_of_the_retraining_are_ignored_outside_the_field_and_their_certainty_is_a_share(
    run: Path, toy: Path
) -> None:
    folder = run / "stages" / "shapes" / "pseudo-labels"
    for number in range(4):
        labels = blosc2.open(str(folder / f"c{number}.labels.b2nd"))[:][0]
        certainty = blosc2.open(str(folder / f"c{number}.confidence.b2nd"))[:][0]
        assert np.array_equal(labels == IGNORE, mask(toy / "fields") == 0)
        assert set(np.unique(labels)) <= {0, 1, IGNORE}
        assert certainty.min() >= 0
        assert certainty.max() <= 1
        assert certainty.std() > 0


@pytest.mark.parametrize("stage", ["shapes", "refined_certain"])
def test_a_stopped_training_goes_on_bit_for_bit(stage: str, run: Path, toy: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(state: dict[str, Any]) -> None:
        if (state["stage"], state["step"]) == (stage, 1):
            raise Stop

    out = tmp_path / "run"
    options = {**QUICK, "checkpoint.every": 1, "method.weighting": "certain,uniform"}
    with pytest.raises(Stop):
        discover(
            toy / "images", shapes=toy / "shapes", field="auto", out=out, options=options, hooks=Hooks(report=stop)
        )
    assert call("discover", "--resume", "--out", out) == 0
    assert [row["loss"] for row in rows(out)] == [row["loss"] for row in rows(run)]
    for name in ("shapes", "refined_uniform"):
        whole, again = (load_file(place / "stages" / name / "last.safetensors") for place in (run, out))
        assert whole.keys() == again.keys()
        assert all(torch.equal(whole[key], again[key]) for key in whole), name


@pytest.mark.parametrize("place", [("patches", 1), ("shapes", 6), ("labels", 2)])
def test_ctrl_c_in_the_last_step_of_a_stage_or_among_the_labels_stops_before_what_comes_next(
    place: tuple[str, int], run: Path, toy: Path, tmp_path: Path
) -> None:
    seen: list[tuple[str, int]] = []

    def stop(state: dict[str, Any]) -> None:
        seen.append((state["stage"], state["step"]))
        if seen[-1] == place:
            signal.raise_signal(signal.SIGINT)

    out, hooks = tmp_path / "run", Hooks(report=stop)
    options = {**QUICK, "method.weighting": "certain,uniform"}
    done = discover(toy / "images", shapes=toy / "shapes", field="auto", out=out, options=options, hooks=hooks)
    assert not done.trained.finished
    assert seen[-1] == place, "nothing came after it"
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    assert call("discover", "--resume", "--out", out) == 0
    assert [row["loss"] for row in rows(out)] == [row["loss"] for row in rows(run)]


def test_masks_of_the_field_of_view_are_a_folder_and_prediction_asks_for_theirs(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = {**QUICK, "train.steps": 2, "method.refinement": 0}
    done = discover(toy / "images", shapes=toy / "shapes", field=toy / "fields", out=out, options=options)
    assert list(done.trained.results) == ["patches", "shapes"]
    assert call("predict", out, toy / "images", "--out", tmp_path / "masks") == 2
    assert "predict.field=FOLDER" in capsys.readouterr().err
    words = ["--out", tmp_path / "masks", f"predict.field={toy / 'fields'}", "--output"]
    assert call("predict", out, toy / "images", *words, "clusters") == 0
    assert call("predict", out, toy / "images", *words, "refined") == 2
    assert "no answer of this run (clustering, clusters)" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["shape-guided-fundus", "shape-guided-fundus-small"])
def test_the_recipe_trains_two_steps(recipe: str, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = {
        "data.size": "32,32",
        "data.patch": "32,32",
        "train.steps": 2,
        "train.unlabeled_batch_size": 2,
        "method.views": 1,
    }
    given = {**small, "train.workers": 0, "data.workers": 0}
    assert find(recipe).values["method"] == "shape_guided"
    assert discover(toy / "images", shapes=toy / "shapes", out=out, recipe=recipe, options=given).trained.finished
    assert open_run(out).method.outputs[-2:] == ("refined_certain", "refined_uniform")


def test_volumes_are_guided_by_volumes_of_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "shapes").mkdir()
    for number in range(2):
        tube = np.zeros((10, 18, 20), np.uint8)
        tube[:, 6 : 9 + number, 5:8] = 1
        write_mask(tmp_path / "shapes" / f"s{number}.nii.gz", tube, Geometry())
        write_map(tmp_path / "images" / f"c{number}.nii.gz", tube[:, ::-1] + rng.normal(0, 0.1, tube.shape), Geometry())
    options = {**QUICK, "data.patch": "8,16,16", "network.depth": 2, "train.steps": 4}
    out = tmp_path / "run"
    assert discover(tmp_path / "images", shapes=tmp_path / "shapes", out=out, options=options).trained.finished
    opened = open_run(out)
    assert opened.task.ndim == 3
    assert opened.method.outputs == ("refined", "clustering", "clusters")
    words = ["--out", tmp_path / "masks", "--output", "clustering"]
    assert call("predict", out, tmp_path / "images", *words) == 0
    assert (tmp_path / "masks" / "c0.nii.gz").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["discover", "IMAGES"], "which shapes? give a folder of reference masks"),
        (["discover", "IMAGES", "--shapes", "EMPTY"], "holds no scans"),
        (["discover", "IMAGES", "--shapes", "IMAGES"], "values: a reference mask holds 0 and one other"),
        (["discover", "IMAGES", "--shapes", "SHAPES", "--field", "EMPTY"], "no mask of the field of view of 'c0'"),
        (["discover", "IMAGES", "--shapes", "SHAPES", "--field", "nowhere"], "no such folder of masks"),
        (["discover", "IMAGES", "--shapes", "SHAPES", "method=ld"], "method 'ld' does not learn from shapes alone"),
        (["train", "IMAGES", "--method", "shape_guided"], "takes no label: paucis discover IMAGES --shapes MASKS"),
        (["pretrain", "IMAGES", "--method", "shape_guided"], "is no pretraining"),
        (["discover"], "which dataset?"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_leaves_nothing(
    words: list[str], said: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"IMAGES": toy / "images", "SHAPES": toy / "shapes", "EMPTY": tmp_path / "empty"}
    out = tmp_path / "run"
    assert call(*(places.get(word, word) for word in words), "--out", out, "train.steps=2", "data.workers=0") == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_the_last_tenth_of_the_course_is_what_is_reported() -> None:
    course = ShapeCourse(list(range(20)), [0.5] * 18 + [0.1, 0.2], [0.08] * 20, [0.5] * 18 + [0.7, 0.9])
    assert course.last() == pytest.approx((0.15, 0.08, 0.8))
