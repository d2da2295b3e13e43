"""``paucis similarity``: the right pixel, on the planned grid, against the network's own vectors."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paucis.cli import main
from paucis.data.case import Case, Geometry
from paucis.data.formats import read_image, write_map
from paucis.data.grid import orient, planned_point, planned_voxel, stored_point, trace_of
from paucis.data.preparation import prepare
from paucis.engine.runs import open_run
from paucis.errors import PaucisError
from paucis.evaluation.features.similarity import cosine
from paucis.losses.region_discrimination import region_prototypes
from paucis.workflows.embed import embed
from paucis.workflows.embed_regions import find_regions
from paucis.workflows.pretrain import pretrain
from paucis.workflows.similarity import similarity

QUICK = {
    "network": "unet", "network.features": 4, "network.depth": 2, "method.dim": 8, "method.clusters": 3,
    "train.steps": 2, "train.unlabeled_batch_size": 2, "train.workers": 0, "data.workers": 0,
}  # fmt: skip


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("flat"), np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(rng.integers(0, 255, (48, 64), dtype=np.uint8)).save(root / f"case_{index}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "flat"
    pretrain(pictures, out=out, options={**QUICK, "data.size": "32,32"})
    return out


def test_the_map_holds_the_cosines_of_the_networks_vectors_with_that_of_the_point(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    image = pictures / "case_1.png"
    done = similarity(run, image, point=(24, 60), out=tmp_path / "a.png")
    assert done.picture.read_bytes().startswith(b"\x89PNG")
    assert done.voxel == (0, 16, 30), "48 x 64 pixels are seen as 32 x 32"
    opened = open_run(run)
    prepared, _ = prepare(read_image((image,)), opened.plan)
    with torch.no_grad(), opened.autocast():
        vectors = opened.method.embed(torch.from_numpy(prepared).squeeze(1)[None])[0]
    expected = torch.nn.functional.cosine_similarity(vectors, vectors[:, 16, 30, None, None], dim=0)
    assert np.allclose(done.map, expected.numpy(), atol=1e-4)
    assert done.map[16, 30] == pytest.approx(1.0, abs=1e-5)
    assert 1 <= done.clusters <= 3


def test_a_volume_is_shown_by_the_slice_of_the_point(tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "scans"
    for index in range(2):
        write_map(folder / f"c{index}.nii.gz", rng.normal(size=(12, 18, 20)).astype(np.float32), Geometry())
    pretrain(folder, out=tmp_path / "run", options={**QUICK, "data.patch": "8,16,16", "method.warmup": 1})
    words = ("similarity", tmp_path / "run", folder / "c0.nii.gz")
    assert call(*words, "--point", "3,4,5", "--out", tmp_path / "b.png") == 0
    done = similarity(tmp_path / "run", folder / "c0.nii.gz", point=(3, 4, 5), out=tmp_path / "b.png")
    assert done.map.shape == done.shape == (18, 20)
    assert done.map[done.voxel[1], done.voxel[2]] == pytest.approx(1.0, abs=1e-5)
    assert done.clusters == 0, "a pretraining on patches alone has none"


def test_regions_of_a_clustering_are_embedded_with_their_prototypes(
    run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "regions.png"
    assert call("embed", run, pictures, "--out", out) == 0
    assert "regions of 3 scans, 3 of cluster 0, 3 of cluster 1, 3 of cluster 2" in capsys.readouterr().out
    assert out.read_bytes().startswith(b"\x89PNG")
    with out.with_suffix(".csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [row["case"] for row in table[-3:]] == ["(prototype)"] * 3
    opened = open_run(run)
    images = [prepare(read_image((pictures / f"case_{k}.png",)), opened.plan)[0] for k in range(3)]
    batch = torch.from_numpy(np.concatenate(images, 1)).movedim(1, 0)
    with torch.no_grad(), opened.autocast():
        vectors, shares = opened.method.embed(batch), opened.method.cluster(batch)
    expected, prototypes = region_prototypes(vectors, shares)
    cases = [Case(f"case_{k}", (pictures / f"case_{k}.png",)) for k in range(3)]
    found = find_regions(opened, cases, np.random.default_rng(0), lambda done, total: None)
    assert np.allclose(found.vectors.reshape(3, 3, -1), expected.numpy(), atol=1e-4)
    assert np.allclose(found.prototypes, prototypes.numpy(), atol=1e-4)
    assert np.allclose(found.shares.reshape(3, 3), shares.mean((2, 3)).numpy(), atol=1e-4)
    with pytest.raises(PaucisError, match="only 3 regions were found to embed: give more images"):
        embed(run, pictures, out=tmp_path / "few.png", per_class=1)


def test_a_stored_voxel_finds_its_place_on_a_turned_and_resampled_grid() -> None:
    turned = Geometry(spacing=(3.0, 1.0, 1.0), direction=(-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))
    trace = trace_of(turned, (4, 6, 8), spacing=(1.0, 1.0, 1.0))
    array = np.zeros((4, 6, 8), np.float32)
    array[1, 2, 3] = 1.0
    (place,) = np.argwhere(orient(array, trace))
    scale = np.array(trace.prepared) / np.array(trace.oriented)
    assert planned_voxel((1, 2, 3), trace) == tuple(np.floor((place + 0.5) * scale).astype(int))
    assert planned_voxel((3, 5, 7), trace) != planned_voxel((0, 0, 0), trace)


def test_a_vector_without_length_is_like_nothing() -> None:
    vectors = np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 3.0]], np.float32)
    assert cosine(vectors, np.array([5.0, 0.0], np.float32)).tolist() == [0.0, 1.0, -1.0, 0.0]


@pytest.mark.parametrize(
    ("point", "out", "said"),
    [
        ("1,2,3", "a.png", "must be Y,X of this scan"),
        ("48,1", "a.png", "lies outside: Y,X run from 0 to 47,63"),
        ("1,1", "a.jpg", "must be a .png file"),
        ("a,b", "a.png", "--point"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    point: str, out: str, said: str, run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("similarity", run, pictures / "case_0.png", "--point", point, "--out", tmp_path / out) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert call("similarity", run, pictures, "--point", "1,1", "--out", tmp_path / "a.png") == 2
    assert "holds 3 scans: name one of them" in capsys.readouterr().err


def test_a_place_on_the_planned_grid_and_the_stored_one_are_each_others_inverse() -> None:
    turned = Geometry(spacing=(3.0, 1.0, 1.0), direction=(-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))
    trace = trace_of(turned, (4, 6, 8), spacing=(1.0, 1.5, 1.0))
    array = np.zeros((4, 6, 8), np.float32)
    array[1, 2, 3] = 1.0
    (place,) = np.argwhere(orient(array, trace))
    scale = np.array(trace.prepared) / np.array(trace.oriented)
    assert planned_point((1, 2, 3), trace) == pytest.approx((place + 0.5) * scale - 0.5)
    assert stored_point(planned_point((1.25, 2.5, 3.75), trace), trace) == pytest.approx((1.25, 2.5, 3.75))
    assert planned_voxel((1.4, 2.4, 2.6), trace) == tuple(int(at + 0.5) for at in planned_point((1.4, 2.4, 2.6), trace))
