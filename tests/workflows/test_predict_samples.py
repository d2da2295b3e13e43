"""The files and columns that samples leave beside a prediction."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paucis.data.case import Geometry
from paucis.data.formats import read_label, write_map
from paucis.data.intensity import Normalization
from paucis.data.plan import Plan
from paucis.errors import PaucisError
from paucis.evaluation.masks.finding import find_predictions
from paucis.methods.base import Method, Prediction
from paucis.workflows import opening
from paucis.workflows.predict import predict


class Swaying(Method):
    """Class 1 where the image is above 0; a sample moves the threshold."""

    name = "swaying"

    def __init__(self, task, length: int = 1) -> None:
        torch.nn.Module.__init__(self)
        self.task, self.length = task, length

    @property
    def code_length(self) -> int:
        return self.length

    def predict(self, images):
        return Prediction({"probabilities": torch.cat([-images, images], 1).softmax(1)})

    def sample(self, images, codes):
        return torch.stack([self.predict(images + code).additive["probabilities"] for code in codes])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    plan = Plan(
        ndim=3,
        channels=("c",),
        classes=("background", "ball"),
        values=(0, 7),
        orientation="LPS",
        slice_axis=None,
        spacing=(1.0, 1.0, 1.0),
        size=None,
        normalization=(Normalization("none"),),
        median_shape=(8, 8, 8),
        patch=(8, 8, 8),
        strides=((1, 1, 1),),
        batch_size=2,
        flips=(),
    )
    made = SimpleNamespace(
        plan=plan,
        task=plan.task(),
        method=Swaying(plan.task()),
        device=torch.device("cpu"),
        autocast=nullcontext,
    )
    monkeypatch.setattr(opening, "open_run", lambda path, device, weights: made)
    return made


def scans(folder: Path) -> Path:
    image = np.random.default_rng(0).normal(size=(12, 10, 14)).astype(np.float32)
    write_map(folder / "a.nii.gz", image, Geometry(spacing=(2.0, 1.0, 1.0)))
    return folder


def test_each_sample_is_a_mask_and_the_spread_of_volumes_stands_in_the_table(run, tmp_path) -> None:
    out = tmp_path / "out"
    predict("run", scans(tmp_path / "scans"), out=out, options={"predict.samples": "3"})
    assert sorted(file.name for file in (out / "samples").iterdir()) == ["a_1.nii.gz", "a_2.nii.gz", "a_3.nii.gz"]
    masks = [read_label(out / "samples" / f"a_{number}.nii.gz") for number in (1, 2, 3)]
    assert all(set(np.unique(mask.array)) == {0, 7} for mask in masks)
    assert masks[0].geometry.spacing == (2.0, 1.0, 1.0)
    volumes = [(mask.array == 7).sum() * 2 / 1000 for mask in masks]
    with (out / "cases.csv").open() as lines:
        (row,) = csv.DictReader(lines)
    assert float(row["sampled_volume_ml_mean"]) == pytest.approx(np.mean(volumes), rel=1e-4)
    assert float(row["sampled_volume_ml_deviation"]) == pytest.approx(np.std(volumes, ddof=1), rel=1e-4)
    assert float(row["sampled_volume_ml_smallest"]) == pytest.approx(min(volumes), rel=1e-4)
    assert float(row["sampled_volume_ml_largest"]) == pytest.approx(max(volumes), rel=1e-4)
    assert {file.name for file in (out / "maps").iterdir()} >= {
        f"a_{name}.nii.gz" for name in ("entropy", "expected_entropy", "mutual_information")
    }
    assert list(find_predictions(out).files) == ["a"]  # samples are no predictions of further cases
    assert not (out / ".partial").exists()


def test_a_method_without_samples_is_refused_before_a_scan_is_read(run, tmp_path) -> None:
    run.method.length = 0
    with pytest.raises(PaucisError, match="draws no samples"):
        predict("run", scans(tmp_path / "scans"), out=tmp_path / "out", options={"predict.samples": "3"})
    assert not (tmp_path / "out").exists()
