"""``calibrate``, ``reliability`` and ``review`` through the entry point, on a method whose doubts are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from tests.workflows.test_predict import plan_of

from paucis.data.case import Geometry
from paucis.data.formats import read_label, read_map, write_map, write_mask
from paucis.methods.base import Method, Prediction

SHARPNESS, TRUTH = 10.0, 4.0  # logits the method states, and those by which labels are drawn
SHAPE, GEOMETRY = (10, 20, 20), Geometry(spacing=(2.0, 1.0, 1.0))


class Sure(Method):
    """States ``sigmoid(SHARPNESS x)`` where ``sigmoid(TRUTH x)`` is true; a dropout layer stands before."""

    name = "sure"

    def __init__(self, task, rate: float = 0.0) -> None:
        torch.nn.Module.__init__(self)
        self.task = task
        self.weight = torch.nn.Parameter(torch.tensor(SHARPNESS))
        self.drop = torch.nn.Dropout(rate)

    def predict(self, images):
        logits = self.drop(self.weight * images)
        return Prediction({"probabilities": torch.cat([torch.zeros_like(logits), logits], 1).softmax(1)})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four scans with labels drawn from the truth, and a run whose split validates on all of them."""
    from paucis.workflows import calibrate, opening

    rng = np.random.default_rng(0)
    for number in range(4):
        x = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
        x = (0.5 * x / x.std() - 0.2).astype(np.float32)
        label = (rng.random(SHAPE) < 1 / (1 + np.exp(-TRUTH * x))).astype(np.uint8)
        write_map(tmp_path / "data" / "imagesTr" / f"s{number}.nii.gz", x, GEOMETRY)
        write_mask(tmp_path / "data" / "labelsTr" / f"s{number}.nii.gz", label, GEOMETRY)
    (tmp_path / "run").mkdir()
    plan = plan_of(patch=8, spacing=1.0)
    split = SimpleNamespace(val=("s0", "s1", "s2", "s3"), test=(), labeled=(), unlabeled=())
    runs = {}

    def open_run(path: Path, device: str, weights: str | None) -> SimpleNamespace:
        if str(path) not in runs:
            rate = 0.3 if "dropout" in str(path) else 0.0
            runs[str(path)] = SimpleNamespace(
                folder=SimpleNamespace(path=Path(path), split=lambda: split),
                plan=plan,
                task=plan.task(),
                method=Sure(plan.task(), rate).eval(),
                device=torch.device("cpu"),
                autocast=nullcontext,
            )
        return runs[str(path)]

    monkeypatch.setattr(opening, "open_run", open_run)
    monkeypatch.setattr(calibrate, "open_run", open_run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_that_is_too_sure_is_calibrated_and_its_masks_stay(world: Path, cli: Callable[..., object]) -> None:
    done = cli("calibrate", "run", "data", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["fit"][0] == pytest.approx(SHARPNESS / TRUTH, rel=0.15)
    assert found["ece"][1] < 0.3 * found["ece"][0]
    assert cli("predict", "run", "data", "--out", "sharp", "--probabilities").code == 0
    done = cli("predict", "run", "data", "--out", "soft", "--probabilities", "predict.temperature=saved")
    assert done.code == 0, done.err
    eces = []
    for name in ("sharp", "soft"):
        assert cli("reliability", name, "data").code == 0
        eces.append(json.loads(Path(name, "reliability", "reliability.json").read_text())["regions"]["box"])
    assert eces[1]["all classes"]["ece"]["mean"] < 0.5 * eces[0]["all classes"]["ece"]["mean"]
    assert eces[1]["ball"]["brier"]["mean"] < eces[0]["ball"]["brier"]["mean"]
    np.testing.assert_array_equal(read_label(Path("sharp/s0.nii.gz")).array, read_label(Path("soft/s0.nii.gz")).array)
    p, q = (read_map(Path(name, "maps", "s0_probability_1.nii.gz")).array.astype(float) for name in ("sharp", "soft"))
    inside = (p > 0.01) & (p < 0.99)
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    np.testing.assert_allclose(logit(p[inside]), logit(q[inside]) * found["fit"][0], atol=0.05)


def test_the_figures_of_a_prediction_are_those_of_its_maps(world: Path, cli: Callable[..., object]) -> None:
    assert cli("predict", "run", "data", "--out", "out", "--probabilities").code == 0
    done = cli("reliability", "out", "data", "--json")
    assert done.code == 0, done.err
    one = next(
        row
        for row in rows(Path("out/reliability/reliability.csv"))
        if (row["case"], row["region"], row["class"]) == ("s1", "all", "all classes")
    )
    p = read_map(Path("out/maps/s1_probability_1.nii.gz")).array[0].astype(np.float64)
    y = read_label(Path("data/labelsTr/s1.nii.gz")).array[0]
    wrong = (p > 0.5) != y
    doubt = np.minimum(p, 1 - p)
    assert float(one["brier"]) == pytest.approx(2 * ((p - y) ** 2).mean(), rel=1e-3)
    assert float(one["error_rate"]) == pytest.approx(wrong.mean())
    risks = np.cumsum(wrong.ravel()[np.argsort(doubt.ravel())]) / np.arange(1, p.size + 1)
    assert float(one["aurc:confidence"]) == pytest.approx(risks.mean(), abs=2e-3)
    pairs = np.mean(doubt[wrong][:, None] > doubt[~wrong][None])
    assert float(one["auroc:entropy"]) == pytest.approx(pairs, abs=5e-3)
    structures = json.loads(done.out)["structures"]["ball"]
    assert structures["structures"] == 4
    with Image.open("out/reliability/reliability.png") as picture:
        assert picture.size[0] > 900
    assert cli("reliability", "out", "data", "--group", "(s)").code == 0
    assert {row["group"] for row in rows(Path("out/reliability/reliability.csv"))} == {"s"}


def test_dropout_and_ensembles_split_the_entropy_into_the_two_maps(world: Path, cli: Callable[..., object]) -> None:
    options = ["predict.maps=entropy,expected_entropy,mutual_information"]
    for out, more in (
        ("passes", ["with-dropout", "data", "predict.dropout=6"]),
        ("runs", ["run", "data", "--also", "with-dropout"]),
        ("views", ["run", "data", "predict.flips=true"]),
    ):
        done = cli("predict", *more, *options, "--out", out)
        assert done.code == 0, done.err
        maps = [read_map(Path(out, "maps", f"s0_{name}.nii.gz")).array for name in options[0][13:].split(",")]
        np.testing.assert_allclose(maps[0], maps[1] + maps[2], atol=1e-5)
        assert (maps[2].max() > 0.05) == (out == "passes")
    assert cli("predict", "with-dropout", "data", "predict.dropout=6", *options, "--out", "again").code == 0
    for name in ("passes", "again"):
        found = read_map(Path(name, "maps", "s0_mutual_information.nii.gz")).array
        np.testing.assert_array_equal(found, read_map(Path("passes/maps/s0_mutual_information.nii.gz")).array)
    (row, *_) = rows(Path("runs/cases.csv"))
    assert float(row["sampled_volume_ml_smallest"]) == float(row["sampled_volume_ml_largest"])  # equal runs


def test_review_ranks_by_the_worst_structure_and_shows_it(world: Path, cli: Callable[..., object]) -> None:
    assert cli("predict", "run", "data", "--out", "out").code == 0
    scores = {row["case"]: float(row["score"]) for row in rows(Path("out/cases.csv"))}
    for row in rows(Path("out/cases.csv")):
        assert float(row["volume_ml_low"]) <= float(row["volume_ml"]) <= float(row["volume_ml_high"])
    done = cli("review", "out", "--show", "2")
    assert done.code == 0, done.err
    ranked = rows(Path("out/review/review.csv"))
    assert [row["case"] for row in ranked] == sorted(scores, key=scores.get)
    assert [row["rank"] for row in ranked] == ["1", "2", "3", "4"]
    with Image.open("out/review/review.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50
    widths = {
        row["case"]: 1 - float(row["volume_ml_low"]) / float(row["volume_ml_high"])
        for row in rows(Path("out/cases.csv"))
    }
    assert cli("review", "out", "--by", "interval", "--show", "0").code == 0
    ranked = rows(Path("out/review/review.csv"))
    assert [row["case"] for row in ranked] == sorted(widths, key=widths.get, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "run", "data", "--role", "vall"], "must be one of"),
        (["calibrate", "run", "data", "--role", "test"], "no labeled case of the role"),
        (["predict", "run", "data", "--out", "o", "predict.temperature=saved"], "no saved temperature"),
        (["predict", "run", "data", "--out", "o", "predict.temperature=0"], "number above 0"),
        (["predict", "run", "data", "--out", "o", "predict.temperature=warm"], "number above 0"),
        (["predict", "run", "data", "--out", "o", "--also", "run2", "predict.temperature=saved"], "that of one run"),
        (["predict", "run", "data", "--out", "o", "predict.dropout=3"], "without dropout"),
        (["reliability", "data/labelsTr", "data"], "manifest.json: is missing"),
        (["reliability", "nowhere", "data"], "nowhere"),
        (["review", "nowhere"], "no such folder"),
        (["review", "data/labelsTr"], "cases.csv: is missing"),
        (["review", "data/labelsTr", "--map", "entropie"], "did you mean"),
    ],
)
def test_mistakes_are_one_line(world: Path, refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_a_temperature_holds_for_its_weights_and_its_way_of_predicting(
    world: Path, cli: Callable[..., object], refused: Callable[..., str]
) -> None:
    from paucis.workflows import opening

    assert cli("calibrate", "run", "data").code == 0
    saved = ["predict", "run", "data", "--out", "o", "predict.temperature=saved"]
    assert "holds for predict.flips=False" in refused(*saved, "predict.flips=true")
    with torch.no_grad():
        opening.open_run("run", "cpu", None).method.weight += 1
    assert "of other weights" in refused(*saved)
    Path("run/temperature.json").write_text("{}")
    assert "calibrate again" in refused(*saved)


def test_an_ensemble_is_calibrated_and_told(world: Path, cli: Callable[..., object]) -> None:
    done = cli("calibrate", "run", "data", "--also", "run2")
    assert done.code == 0, done.err
    assert "not saved" in done.out
    assert not Path("run/temperature.json").exists()
