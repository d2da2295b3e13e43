"""``paucis locate``: a point of one image found in others, through the command line, in 2D and 3D."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paucis.data.case import Geometry
from paucis.data.formats import write_map
from paucis.inference.similar_places import SimilarPlaces
from paucis.workflows.pretrain import pretrain

QUICK = {
    "network": "unet", "network.features": 4, "network.depth": 2, "method.dim": 8, "method.warmup": 1,
    "method.sigma": 0.5, "train.steps": 3, "train.unlabeled_batch_size": 2, "train.workers": 0, "data.workers": 0,
}  # fmt: skip


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return noise / noise.std()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("flat"), np.random.default_rng(0)
    for index in range(4):
        image = np.clip(128 + 40 * smooth(rng, 48, 64), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / f"case_{index}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "flat"
    pretrain(pictures, out=out, options={**QUICK, "data.size": "48,64", "method.grids": "4,8"})
    return out


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("deep"), np.random.default_rng(0)
    turned = Geometry(spacing=(2.0, 1.0, 1.0), direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    for index in range(2):
        write_map(root / f"c{index}.nii.gz", smooth(rng, 12, 24, 20).astype(np.float32), turned)
    return root


@pytest.fixture(scope="module")
def deep(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "deep"
    pretrain(volumes, out=out, options={**QUICK, "data.patch": "8,16,16", "method.grids": "2,4"})
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_support_itself_has_its_points_within_a_pixel(
    run: Path, pictures: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    words = ("--support", pictures / "case_1.png", "--point", "tip=20,41", "--point", "12,7")
    done = cli("locate", run, pictures, *words, "--out", tmp_path / "found.csv", "--size", "8")
    assert done.code == 0, done.err
    table = rows(tmp_path / "found.csv")
    assert [(row["image"], row["landmark"]) for row in table] == [
        (f"case_{index}", name) for index in range(4) for name in ("tip", "2")
    ]
    for row, point in zip(table[2:4], [(20, 41), (12, 7)], strict=True):
        assert abs(float(row["peak_y"]) - point[0]) <= 1
        assert abs(float(row["peak_x"]) - point[1]) <= 1
        assert float(row["similarity"]) == pytest.approx(1.0, abs=1e-4)
    assert all(float(row["confidence"]) >= 1 for row in table)
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["found.csv", "found.png"]


def test_a_volume_that_is_stored_turned_has_its_point_within_a_voxel(
    deep: Path, volumes: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    words = ("--support", volumes / "c0.nii.gz", "--point", "7,13,5", "--size", "2,4,4")
    done = cli("locate", deep, volumes, *words, "--out", tmp_path / "found.csv", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    own, other = told["rows"]
    assert own["peak"] == pytest.approx([7, 13, 5], abs=1)
    assert own["support"] is True
    assert other["support"] is False
    assert told["window"] == [2, 4, 4]
    for row in rows(tmp_path / "found.csv"):
        place = [float(row[axis]) for axis in "zyx"]
        assert all(-0.5 <= at < size for at, size in zip(place, (12, 24, 20), strict=True))


def test_true_points_give_errors_and_accuracy_without_the_support(
    run: Path, pictures: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    centres = tmp_path / "centres.csv"
    lines = [f"case_{index}.png,{name},{10 + index},{20 + index}" for index in (0, 1, 2) for name in ("a", "b", "c")]
    centres.write_text("\n".join(["image,landmark,y,x", *lines]))
    two = tmp_path / "two.csv"
    two.write_text("\n".join(["image,landmark,y,x", *(line for line in lines if ",c," not in line)]))
    words = ("--support", pictures / "case_0.png", "--support", pictures / "case_1.png", "--point", two)
    out = tmp_path / "out" / "found.csv"
    done = cli("locate", run, pictures, *words, "--out", out, "--truth", centres, "--size", "12,16")
    assert done.code == 0, done.err
    table = {(row["image"], row["landmark"]): row for row in rows(out)}
    assert table["case_3", "a"]["error"] == table["case_3", "a"]["share"] == ""
    row = table["case_2", "a"]
    dy, dx = float(row["y"]) - 12, float(row["x"]) - 22
    assert float(row["error"]) == pytest.approx(np.hypot(dy, dx), abs=0.02)
    assert row["unit"] == "pixels"
    assert float(row["share"]) == pytest.approx(np.hypot(dy / 12, dx / 16), abs=2e-3)
    found = {row["landmark"]: row for row in rows(out.with_name("found_accuracy.csv"))}
    assert [(name, found[name]["images"]) for name in found] == [("a", "1"), ("b", "1"), ("all", "2")]
    share = float(row["share"])
    assert [float(found["a"][f"within_{t:g}"]) for t in (0.05, 0.1, 0.15, 0.2, 0.25)] == [
        float(share < t) for t in (0.05, 0.1, 0.15, 0.2, 0.25)
    ]


def test_the_mean_of_two_supports_is_between_them(run: Path, pictures: Path, tmp_path: Path) -> None:
    from paucis.engine.runs import open_run
    from paucis.workflows.landmark_points import read_points
    from paucis.workflows.landmark_search import LandmarkSearch
    from paucis.workflows.similarity import one_scan

    opened = open_run(run, "cpu")
    cases = [one_scan(pictures / f"case_{index}.png", opened) for index in (0, 1)]
    both = tmp_path / "both.csv"
    both.write_text("image,landmark,y,x\ncase_0,a,10,10\ncase_1,a,30,40\ncase_1,b,3,4\n")
    search = LandmarkSearch(opened, None, tmp_path)
    single = []
    for case in cases:
        search.learn([case], read_points([str(both)]))
        single.append(search.vectors[0])
    search.learn(cases, read_points([str(both)]))
    assert search.landmarks == ("a", "b")
    mean = single[0] + single[1]
    assert np.allclose(search.vectors[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert search.pooling.window == (1, 12, 16)
    assert search.pooling.sigma == 0.5


def test_a_stopped_call_goes_on_and_large_maps_lie_on_disk(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    words = ("locate", run, pictures, "--support", pictures / "case_1.png", "--point", "20,41", "--size", "8", "--out")
    assert cli(*words, tmp_path / "straight.csv").code == 0
    seen, maps = [], SimilarPlaces.maps

    def stopping(self: SimilarPlaces, *given: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return maps(self, *given)

    monkeypatch.setattr(SimilarPlaces, "maps", stopping)
    monkeypatch.setattr("paucis.workflows.landmark_search.IN_MEMORY", 0)
    assert cli(*words, tmp_path / "stopped.csv").code == 130
    assert not (tmp_path / "stopped.csv").exists()
    assert cli(*words, tmp_path / "stopped.csv").code == 0
    assert len(seen) == 3 + 2, "two images were known"
    assert (tmp_path / "stopped.csv").read_text() == (tmp_path / "straight.csv").read_text()


def test_points_are_looked_for_within_the_field_of_view(
    run: Path, pictures: Path, tmp_path: Path, cli: Callable[..., Any], refused: Callable[..., str]
) -> None:
    words = ["locate", run, pictures, "--support", pictures / "case_1.png", "--point", "20,41", "--size", "8"]
    for name, left in (("left", True), ("right", False)):
        mask = np.zeros((48, 64), np.uint8)
        mask[:, slice(10, 30) if left else slice(34, 64)] = 255
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.fromarray(mask).save(tmp_path / name / f"case_{index}_mask.png")
        done = cli(*words, "--out", tmp_path / f"{name}.csv", "--field", tmp_path / name)
        assert done.code == 0, done.err
        columns = [float(row["peak_x"]) for row in rows(tmp_path / f"{name}.csv")]
        assert all(10 <= at < 30 if left else at >= 34 for at in columns)
    (tmp_path / "left" / "case_2_mask.png").unlink()
    said = refused(*words, "--out", tmp_path / "found.csv", "--field", tmp_path / "left")
    assert "holds no mask of the field of view of 'case_2'" in said


def test_images_that_cannot_be_read_are_named_and_the_others_are_found(
    run: Path, pictures: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    folder = tmp_path / "queries"
    folder.mkdir()
    (folder / "good.png").write_bytes((pictures / "case_2.png").read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    words = ("--support", pictures / "case_1.png", "--point", "20,41", "--out", tmp_path / "found.csv")
    done = cli("locate", run, folder, *words)
    assert done.code == 2
    assert "1 of 2 scans could not be looked at" in done.err
    assert "broken.png" in done.err
    assert [row["image"] for row in rows(tmp_path / "found.csv")] == ["good"]


def test_a_landmark_that_no_support_has_is_named(
    run: Path, pictures: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    points = tmp_path / "points.csv"
    points.write_text("image,landmark,y,x\ncase_1,tip,20,21\ncase_2,apex,3,4\n")
    words = ["--support", pictures / "case_1.png", "--point", points, "--out", tmp_path / "found.csv"]
    done = cli("locate", run, pictures, *words)
    assert done.code == 0
    assert "not looked for, since no support has them: apex" in " ".join(done.out.split())
    assert {row["landmark"] for row in rows(tmp_path / "found.csv")} == {"tip"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--point": "48,1"}, "lies outside case_1: Y,X run from 0 to 47,63"),
        ({"--point": "1,2,3"}, "must be Y,X of case_1"),
        ({"--point": "{out}/none.csv"}, "cannot be read"),
        ({"--point": "{out}/odd.csv"}, "unknown column 'colour'"),
        ({"--point": "{out}/elsewhere.csv"}, "no point is given for 'case_1' (images: other)"),
        ({"--point": "tip=abc,1"}, "--point tip='abc' is not a number"),
        ({"--support": "{out}/none.png"}, "does not exist"),
        ({"--support": "{out}/broken.png"}, "broken.png"),
        ({"--support": "{data}"}, "holds 4 scans: name one of them"),
        ({"queries": "{out}/empty"}, "holds no scans"),
        ({"queries": "{out}/missing"}, "does not exist"),
        ({"--size": "0"}, "--size 0: must be one number above 0, or 2"),
        ({"--size": "1,2,3"}, "must be one number above 0, or 2"),
        ({"--size": "60"}, "larger than the run's crop 48x64"),
        ({"--size": "a"}, "--size"),
        ({"--out": "{out}/found.txt"}, "must be a .csv file"),
        ({"--truth": "{out}/odd.csv"}, "unknown column 'colour'"),
        ({"--truth": "{out}/nameless.csv"}, "has no column 'image'"),
        ({"--truth": "{out}/elsewhere.csv"}, "has no point of the landmarks 1 (there: tip)"),
        ({"--truth": "{out}/elsewhere.csv", "--point": "tip=1,2"}, "has no point of any query"),
        ({"run": "{data}"}, "is not a run folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    changes: dict[str, str], said: str, run: Path, pictures: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "odd.csv").write_text("image,landmark,y,x,colour\ncase_1,tip,1,2,red\n")
    (tmp_path / "elsewhere.csv").write_text("image,landmark,y,x\nother,tip,1,2\n")
    (tmp_path / "nameless.csv").write_text("landmark,y,x\ntip,1,2\n")
    given = {"run": run, "queries": pictures, "--support": pictures / "case_1.png", "--point": "20,41"}
    given |= {"--out": tmp_path / "found.csv"} | changes
    words = {name: str(value).format(out=tmp_path, data=pictures) for name, value in given.items()}
    options = [word for name, value in words.items() if name.startswith("--") for word in (name, value)]
    assert said in refused("locate", words["run"], words["queries"], *options)
    assert not (tmp_path / "found.csv").exists()
