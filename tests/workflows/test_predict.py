from __future__ import annotations

import csv
import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from paucis.batch import Task
from paucis.data.formats import read_image, read_label, read_map
from paucis.data.intensity import Normalization
from paucis.data.layouts import scans as find_scans
from paucis.data.plan import Plan
from paucis.errors import PaucisError
from paucis.evaluation.masks.finding import find_predictions
from paucis.methods.base import Method, Prediction
from paucis.workflows import opening
from paucis.workflows import predict as module
from paucis.workflows import prediction_files as files_module
from paucis.workflows.predict import predict

CENTER, RADIUS = np.array([12.0, -7.0, 30.0]), 13.0  # of a ball, in mm (x, y, z)
DIAGONAL = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)  # slices run from front to back


class Bright(Method):
    """Class 1 where the first channel is above 0, the surer the further."""

    def __init__(self, task: Task, sharpness: float = 5.0, members: bool = False) -> None:
        torch.nn.Module.__init__(self)
        self.task = task
        self.sharpness = sharpness
        self.members = members

    def predict(self, images):
        logits = torch.cat([-images[:, :1], images[:, :1]], 1) * self.sharpness
        p = logits.softmax(1)
        return Prediction({"probabilities": p}, members={"same": p, "contrary": p.flip(1)} if self.members else {})


def plan_of(ndim=3, *, values=(0, 1), channels=1, patch=16, spacing=1.0, offset=0.0) -> Plan:
    return Plan(
        ndim=ndim,
        channels=tuple(map(str, range(channels))),
        classes=("background", "ball"),
        values=values,
        orientation="LPS",
        slice_axis=0 if ndim == 2 else None,
        spacing=(spacing,) * ndim,
        size=None,
        normalization=(Normalization("dataset", offset, 1.0),) * channels,
        median_shape=(patch,) * 3,
        patch=(patch,) * ndim,
        strides=((1,) * ndim,),
        batch_size=2,
        flips=tuple(range(ndim)),
    )


@pytest.fixture
def runs(monkeypatch):
    """Runs by name, in place of run folders."""
    made: dict[str, SimpleNamespace] = {}

    def add(name, plan, **options):
        made[name] = SimpleNamespace(
            plan=plan,
            task=plan.task(),
            method=Bright(plan.task(), **options),
            device=torch.device("cpu"),
            autocast=nullcontext,
        )
        return name

    monkeypatch.setattr(opening, "open_run", lambda path, device, weights: made[str(path)])
    return add


def scan(direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), spacing=(1.0, 1.0, 1.0), size=(44, 40, 36)):
    """An image of the ball whose grid lies around the ball's center, turned as asked."""
    image = sitk.GetImageFromArray(np.zeros(size[::-1], np.float32))
    image.SetDirection([float(c) for c in direction])
    image.SetSpacing(spacing)
    half = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size]))
    image.SetOrigin(list(CENTER + np.array([2.0, 1.0, -1.5]) - half))
    return sitk.GetImageFromArray(np.where(ball(image), 1.0, -1.0).astype(np.float32)), image


def ball(image):
    """Which voxels of an image lie in the ball, by their position in mm."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in image.GetSize()[::-1]), indexing="ij")
    index = np.stack([x, y, z], -1) * np.array(image.GetSpacing())
    points = index @ np.array(image.GetDirection()).reshape(3, 3).T + np.array(image.GetOrigin())
    return ((points - CENTER) ** 2).sum(-1) < RADIUS**2


def save(path, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), spacing=(1.0, 1.0, 1.0)):
    values, grid = scan(direction, spacing)
    values.CopyInformation(grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(values, str(path))
    return values


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def table(out):
    with (out / "cases.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("planned", [1.0, 1.4])
@pytest.mark.parametrize(
    ("direction", "spacing"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), (1.0, 1.0, 1.0)),
        ((-1, 0, 0, 0, 1, 0, 0, 0, -1), (1.0, 1.2, 0.9)),
        (DIAGONAL, (0.9, 1.0, 1.3)),
        (TILTED, (1.1, 1.0, 0.8)),
    ],
)
def test_masks_of_flipped_and_oblique_scans_come_back_aligned(tmp_path, runs, direction, spacing, planned):
    image = save(tmp_path / "scans" / "a.nii.gz", direction, spacing)
    predict(runs("r", plan_of(spacing=planned)), tmp_path / "scans", out=tmp_path / "out")
    mask = sitk.ReadImage(str(tmp_path / "out" / "a.nii.gz"))
    for ours, theirs in [(mask.GetOrigin(), image.GetOrigin()), (mask.GetDirection(), image.GetDirection())]:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(mask.GetSpacing(), image.GetSpacing(), atol=1e-5)
    predicted, expected = sitk.GetArrayFromImage(mask) == 1, ball(mask)
    assert 2 * (predicted & expected).sum() / (predicted.sum() + expected.sum()) > 0.97
    points = [mask.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]) for index in np.argwhere(predicted)]
    np.testing.assert_allclose(np.mean(points, 0), CENTER, atol=0.15)  # in mm


def test_every_promised_file_is_there_and_the_manifest_names_them(tmp_path, runs):
    for name in ("a", "b"):
        save(tmp_path / "scans" / f"{name}_0000.nii.gz")
    out, seen = tmp_path / "out", []
    result = predict(
        runs("r", plan_of(values=(0, 300))), tmp_path / "scans", out=out, progress=lambda *at: seen.append(at)
    )
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "a.nii.gz",
        "b.nii.gz",
        "cases.csv",
        "manifest.json",
        "maps/a_confidence.nii.gz",
        "maps/a_entropy.nii.gz",
        "maps/b_confidence.nii.gz",
        "maps/b_entropy.nii.gz",
    ]
    assert not (out / ".partial").exists()
    assert set(np.unique(read_label(out / "a.nii.gz").array)) == {0, 300}  # the dataset's own values
    content = manifest(out)
    assert (content["run"], content["values"], content["unit"]) == ("r", [0, 300], "mm")
    assert [case["name"] for case in content["cases"]] == ["a", "b"] == list(result.cases)
    for case in content["cases"]:
        assert (out / case["mask"]).is_file()
        assert set(case["maps"]) == {"entropy", "confidence"}
        assert all((out / place).is_file() for place in case["maps"].values())
        assert case["image"] == [str((tmp_path / "scans" / f"{case['name']}_0000.nii.gz").resolve())]
        assert case["status"] == "done"
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_the_table_holds_volume_confidence_and_entropy_of_each_structure(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz", spacing=(2.0, 1.0, 0.5))
    out = tmp_path / "out"
    predict(runs("r", plan_of()), tmp_path / "scans", out=out)
    (row,) = table(out)
    region = read_label(out / "a.nii.gz").array == 1
    assert (row["case"], row["class"]) == ("a", "ball")
    assert float(row["volume_ml"]) == pytest.approx(region.sum() / 1000, rel=1e-4)
    for column, name in (("mean_confidence", "confidence"), ("mean_entropy", "entropy")):
        values = read_map(out / "maps" / f"a_{name}.nii.gz").array[region]
        assert float(row[column]) == pytest.approx(values.mean(), rel=1e-3)


def test_pictures_give_png_masks_in_the_datasets_values(tmp_path, runs):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    (tmp_path / "scans").mkdir()
    Image.fromarray(pixels).save(tmp_path / "scans" / "p.bmp")
    out = tmp_path / "out"
    predict(runs("r", plan_of(2, values=(0, 255), channels=3, offset=127.5)), tmp_path / "scans", out=out)
    assert np.array_equal(np.asarray(Image.open(out / "p.png")), np.where(pixels[..., 0] > 127, 255, 0))
    assert (out / "maps" / "p_entropy.tiff").is_file()
    (row,) = table(out)
    assert int(float(row["volume_pixels"])) == (pixels[..., 0] > 127).sum()
    assert manifest(out)["unit"] == "pixel"


def test_stacks_are_predicted_slice_by_slice_whichever_way_they_are_stored(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz", TILTED, (1.0, 1.0, 6.0))
    predict(runs("r", plan_of(2)), tmp_path / "scans", out=tmp_path / "out")
    mask = sitk.ReadImage(str(tmp_path / "out" / "a.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(mask) == 1, ball(mask))


def test_h5_scans_give_h5_masks(tmp_path, runs):
    image = np.random.default_rng(0).normal(size=(20, 24, 18)).astype(np.float32)
    (tmp_path / "scans").mkdir()
    with h5py.File(tmp_path / "scans" / "v.h5", "w") as file:
        file["image"] = image
    out = tmp_path / "out"
    predict(runs("r", plan_of()), tmp_path / "scans", out=out)
    assert np.array_equal(read_label(out / "v.h5").array[0], image > 0)
    volumes = ["volume_pixels", "volume_pixels_low", "volume_pixels_high"]
    assert list(table(out)[0]) == ["case", "class", *volumes, "score", "mean_confidence", "mean_entropy"]


def test_an_ensemble_writes_its_mutual_information(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz")
    first, second = runs("r", plan_of()), runs("s", plan_of(spacing=1.5), sharpness=0.3)
    out = tmp_path / "out"
    predict(first, tmp_path / "scans" / "a.nii.gz", out=out, also=[second])
    assert read_map(out / "maps" / "a_mutual_information.nii.gz").array.max() > 0.05
    assert manifest(out)["also"] == ["s"]


def test_probabilities_are_written_one_map_a_class_when_asked(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz", DIAGONAL)
    out = tmp_path / "out"
    predict(runs("r", plan_of(values=(0, 4))), tmp_path / "scans", out=out, save_probabilities=True)
    parts = [read_map(out / "maps" / f"a_probability_{value}.nii.gz").array[0] for value in (0, 4)]
    np.testing.assert_allclose(parts[0] + parts[1], 1, atol=2e-3)
    assert np.array_equal(parts[1] > parts[0], read_label(out / "a.nii.gz").array[0] == 4)
    assert not (out / ".partial").exists()


def test_named_answers_are_folders_of_masks_that_can_be_measured_by_themselves(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz")
    run = runs("run", plan_of(values=(0, 7)), members=True)
    predict(run, tmp_path / "scans", out=tmp_path / "out", options={"predict.maps": ["members"]})
    shown = read_label(tmp_path / "out" / "a.nii.gz").array
    one, other = (read_label(tmp_path / "out" / "members" / n / "a.nii.gz").array for n in ("same", "contrary"))
    assert np.array_equal(one, shown)
    assert np.array_equal(other == 7, shown == 0)
    assert list(find_predictions(tmp_path / "out" / "members" / "contrary").files) == ["a"]


def test_a_bad_scan_is_named_and_the_others_are_predicted(tmp_path, runs):
    scans, out = tmp_path / "scans", tmp_path / "out"
    for name in ("a", "m", "z"):
        save(scans / f"{name}.nii.gz")
    (scans / "m.nii.gz").write_bytes((scans / "m.nii.gz").read_bytes()[:900])
    with pytest.raises(PaucisError, match=r"1 of 3 scans not predicted .*m\.nii\.gz") as caught:
        predict(runs("r", plan_of()), scans, out=out)
    assert "\n" not in str(caught.value)
    assert [case["name"] for case in manifest(out)["cases"]] == ["a", "z"]
    assert [case["name"] for case in manifest(out)["failed"]] == ["m"]
    assert {row["case"] for row in table(out)} == {"a", "z"}
    assert not list(out.rglob("m*.nii.gz"))


def test_a_scan_with_other_channels_is_named(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz")
    with pytest.raises(PaucisError, match=r"a\.nii\.gz.* 1 channel.* 2"):
        predict(runs("r", plan_of(channels=2)), tmp_path / "scans", out=tmp_path / "out")


def test_an_interruption_leaves_only_finished_cases(tmp_path, runs, monkeypatch):
    scans, out = tmp_path / "scans", tmp_path / "out"
    for name in ("a", "b"):
        save(scans / f"{name}.nii.gz")
    write_map, calls = files_module.write_map, []

    def interrupted(path, array, geometry):
        calls.append(path)
        if len(calls) == 4:  # the second map of the second case
            raise KeyboardInterrupt
        write_map(path, array, geometry)

    monkeypatch.setattr(files_module, "write_map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(runs("r", plan_of()), scans, out=out)
    assert [case["name"] for case in manifest(out)["cases"]] == ["a"]
    assert not list(out.rglob("b*"))
    assert not (out / ".partial").exists()


def test_a_full_disk_stops_with_one_line(tmp_path, runs, monkeypatch):
    save(tmp_path / "scans" / "a.nii.gz")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module, "write_mask", full)
    with pytest.raises(PaucisError, match=r"out.*No space left on device.*free space"):
        predict(runs("r", plan_of()), tmp_path / "scans", out=tmp_path / "out")
    assert manifest_or_none(tmp_path / "out") is None
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def manifest_or_none(out):
    return manifest(out) if (out / "manifest.json").exists() else None


def test_an_older_manifest_does_not_speak_for_an_unfinished_prediction(tmp_path, runs, monkeypatch):
    save(tmp_path / "scans" / "a.nii.gz")
    predict(runs("r", plan_of()), tmp_path / "scans", out=tmp_path / "out")
    assert manifest_or_none(tmp_path / "out") is not None

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "predict_case", killed)
    with pytest.raises(KeyboardInterrupt):
        predict("r", tmp_path / "scans", out=tmp_path / "out")
    assert manifest_or_none(tmp_path / "out") is None


@pytest.mark.parametrize("out", ["scans", "."])
def test_the_scans_are_never_overwritten(tmp_path, runs, out):
    path = tmp_path / ("maps" if out == "." else "scans") / "a.nii.gz"
    save(path)
    before = path.read_bytes()
    with pytest.raises(PaucisError, match="must not overwrite"):
        predict(runs("r", plan_of()), path, out=tmp_path / out)
    assert path.read_bytes() == before


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_or_empty_folder_is_refused(tmp_path, runs, make):
    make(tmp_path / "scans")
    with pytest.raises(PaucisError, match="scans"):
        predict(runs("r", plan_of()), tmp_path / "scans", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predict.overlapp": "0.5"}, "predict.overlapp.*overlap"),
        ({"train.steps": "3"}, "train.steps"),
        ({"predict.stride": "99,99,99"}, "predict.stride leaves voxels out"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, runs, options, message):
    save(tmp_path / "scans" / "a.nii.gz")
    with pytest.raises(PaucisError, match=message):
        predict(runs("r", plan_of()), tmp_path / "scans", out=tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_negative_mask_values_are_kept(tmp_path, runs):
    save(tmp_path / "scans" / "a.nii.gz")
    predict(runs("r", plan_of(values=(0, -2))), tmp_path / "scans", out=tmp_path / "out")
    assert set(np.unique(read_label(tmp_path / "out" / "a.nii.gz").array)) == {-2, 0}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("place", "plan", "suffix"),
    [
        ("hippocampus/imagesTr", plan_of(), ".nii.gz"),
        ("acdc/imagesTr", plan_of(2, patch=128, spacing=1.5), ".nii.gz"),
        ("isic/images", plan_of(2, channels=3, patch=128), ".png"),
        ("published_h5/la", plan_of(patch=96), ".h5"),
    ],
)
def test_real_scans_get_masks_of_their_own_size(tmp_path, runs, place, plan, suffix):
    root = os.environ.get("PAUCIS_TEST_DATA")
    if not root:
        pytest.skip("PAUCIS_TEST_DATA is not set")
    first = find_scans(Path(root) / place, plan.task().channels)[0]
    predict(runs("r", plan), first.images[0], out=tmp_path / "out")
    (mask,) = (path for path in (tmp_path / "out").iterdir() if path.name.endswith(suffix))
    image, written = read_image(first.images), read_label(mask)
    assert written.array.shape[1:] == image.array.shape[1:]
    np.testing.assert_allclose(written.geometry.direction, image.geometry.direction, atol=1e-5)
    np.testing.assert_allclose(written.geometry.origin, image.geometry.origin, atol=1e-3)


def test_processes_share_the_cores_of_a_cpu_not_a_gpu(runs, tmp_path):
    save(tmp_path / "scans/a.nii.gz")
    run = runs("run", plan_of())
    opening.open_run(run, "", None).device = torch.device("cuda")
    with pytest.raises(PaucisError, match="--jobs 2"):
        predict(run, tmp_path / "scans", out=tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()
