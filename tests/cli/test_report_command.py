"""``paucis report`` through the entry point: what stands in the file, what is not done twice, what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.phantoms import blob

from paucis.data.case import Geometry
from paucis.data.formats import read_label, write_mask
from paucis.evaluation.pictures.layers import color_of

SECTIONS = ["data", "settings", "training", "results", "calibration", "risk", "gallery"]


@pytest.fixture
def run(two_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A run of its own for a test that writes into it."""
    return Path(shutil.copytree(two_runs[0], tmp_path / "run", ignore=shutil.ignore_patterns("report*")))


@pytest.fixture(scope="module")
def report_of_one(two_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run and the text of its report, made with every map."""
    from paucis.workflows.report.making import report

    run = Path(shutil.copytree(two_runs[0], tmp_path_factory.mktemp("one") / "first"))
    done = report([run], probabilities=True, slices=5)
    assert done.out == run / "report.html"
    return run, done.out.read_text(encoding="utf-8")


def gallery(text: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', text)


def picture(content: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_the_page_has_every_section_and_asks_for_nothing_else(report_of_one: tuple[Path, str]) -> None:
    _, text = report_of_one
    assert sections(text) == SECTIONS
    assert not re.findall(r"https?:", text)
    assert not re.findall(r"<(?:link|iframe|object|embed|base)\b|@import|\bfetch\(|XMLHttpRequest", text)
    assert all(target.startswith(("#", "data:")) for target in re.findall(r'(?:href|src)="([^"]*)"', text))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "default-src 'none'" in text
    assert text.count("<svg") >= 6
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(set(identifiers)) == len(identifiers)


def test_figures_are_those_of_the_evaluation_and_the_split(report_of_one: tuple[Path, str]) -> None:
    run, text = report_of_one
    summary = json.loads(next(run.glob("report/*/evaluation/summary.json")).read_text())
    dice = summary["overall"]["dice"]
    assert f"{dice['mean']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}]" in text
    split = json.loads((run / "split.json").read_text())
    assert re.search(rf"training, unlabeled</th><td>{len(split['unlabeled'])}</td><td>not used", text)
    assert set(split["test"] or split["val"]) == {row["name"] for row in gallery(text)["cases"]}
    ece = json.loads(next(run.glob("report/*/reliability/reliability.json")).read_text())["regions"]["box"]
    assert f"{ece['all classes']['ece']['mean']:.3f}" in text
    assert "need maps of probabilities" not in text


def test_no_folder_is_told(report_of_one: tuple[Path, str], phantoms: Path) -> None:
    run, text = report_of_one
    assert phantoms.name in text
    assert str(phantoms.parent) not in text
    assert str(run.parent) not in text


def test_pictures_show_the_masks_of_their_slices(report_of_one: tuple[Path, str]) -> None:
    run, text = report_of_one
    found = gallery(text)
    for case in found["cases"]:
        assert 1 < len(case["numbers"]) <= 5
        assert {len(pictures) for pictures in case["layers"].values()} == {len(case["numbers"])}
        assert set(case["layers"]) == {"image", "reference", "mask0", "doubt0"}
        mask = read_label(next(run.glob(f"report/*/{case['name']}.nii.gz"))).array[0]
        for number, layer in zip(case["numbers"], case["layers"]["mask0"], strict=True):
            pixels = np.asarray(picture(layer).convert("RGBA"))
            assert pixels.shape[:2] == tuple(case["size"])
            seen = {tuple(color) for color in pixels[pixels[..., 3] > 0][:, :3]}
            # the part that is shown holds all masks, so a slice shows the classes that it has
            assert seen == {color_of(int(value)) for value in np.unique(mask[number - 1]) if value}
        assert picture(case["layers"]["image"][0]).format == "WEBP"


def test_what_was_predicted_is_not_predicted_again_unless_the_weights_changed(
    run: Path, two_runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from paucis.workflows import predict
    from paucis.workflows.report.results import predicted
    from paucis.workflows.report.subject import read_subject

    done: list[str] = []
    honest = predict.predict_case
    monkeypatch.setattr(predict, "predict_case", lambda *given, **more: done.append("") or honest(*given, **more))

    def again(probabilities: bool = False) -> Path:
        subject = read_subject("run", run, None)
        told = {"device": "cpu", "probabilities": probabilities, "progress": lambda what, done, total: None}
        return predicted(subject, "val", weights=None, **told)[0]

    masks = sorted(again().glob("*.nii.gz"))
    assert len(done) == len(masks) > 1
    table = (run / "report" / "val" / "cases.csv").read_text().splitlines()
    again()
    assert len(done) == len(masks)
    masks[0].unlink()  # as an interruption leaves it
    again()
    assert len(done) == len(masks) + 1
    assert masks[0].is_file()
    assert sorted((run / "report" / "val" / "cases.csv").read_text().splitlines()) == sorted(table)
    shutil.copytree(two_runs[1] / "stages", run / "stages", dirs_exist_ok=True)
    again()
    assert len(done) == 2 * len(masks) + 1
    assert {file.name.split("_")[-1] for file in (run / "report" / "val" / "maps").iterdir()} == {
        "confidence.nii.gz",
        "entropy.nii.gz",
    }


def test_runs_stand_side_by_side_and_are_compared(report_of_two: tuple[Path, dict[str, Any]]) -> None:
    out, told = report_of_two
    text = out.read_text(encoding="utf-8")
    assert told["size"] == out.stat().st_size
    assert sections(text) == [*SECTIONS[:4], "comparison", *SECTIONS[4:]]
    assert "Wins / ties / losses" in text
    assert "&lt;first&gt;" in text
    assert "<first>" not in text
    cases = gallery(text)["cases"]
    assert [case["name"] for case in cases] == told["shown"]
    for case in cases:
        assert {"mask0", "mask1", "doubt0", "doubt1"} < set(case["layers"])
        assert len(case["runs"]) == 2


def test_the_file_keeps_to_its_limit_and_takes_the_place_of_another_by_force(
    report_of_one: tuple[Path, str], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    run, text = report_of_one
    out = tmp_path / "small.html"
    out.write_text("my own page")
    limit = (len(text.encode()) - 40_000) / 1e6
    done = cli("report", run, "--out", out, "--probabilities", "--slices", 5, "--limit", limit, "--force")
    assert done.code == 0, done.err
    assert out.stat().st_size <= limit * 1e6
    small = [len(case["numbers"]) for case in gallery(out.read_text())["cases"]]
    assert 0 < sum(small) < sum(len(case["numbers"]) for case in gallery(text)["cases"])
    assert f"limited to {limit:g} MB" in out.read_text()


def test_given_predictions_are_judged_as_they_are(
    run: Path, phantoms: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    split = json.loads((run / "split.json").read_text())
    trained = split["labeled"][0]
    (tmp_path / "masks").mkdir()
    shutil.copy(phantoms / "labelsTr" / f"{trained}.nii.gz", tmp_path / "masks")
    done = cli("report", run, "--predictions", tmp_path / "masks", "--out", tmp_path / "given.html")
    assert done.code == 0, done.err
    text = (tmp_path / "given.html").read_text()
    assert sections(text) == SECTIONS
    assert "trained on 1 of these cases" in text
    assert text.count("no maps of the confidence") == 2
    (case,) = gallery(text)["cases"]
    assert set(case["layers"]) == {"image", "reference", "mask0"}
    assert not (tmp_path / "masks" / "evaluation").exists()


def test_pictures_in_color_have_a_gallery_without_slices(tmp_path: Path, cli: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        mask = blob((40, 56), number, 0.2, 5.0)
        image = np.clip(60 + 100 * mask[..., None] + rng.normal(0, 12, (40, 56, 3)), 0, 255).astype(np.uint8)
        (tmp_path / "pictures" / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pictures" / "images" / f"p{number}.png")
        geometry = Geometry(physical=False, suffix=".png", dims=2)
        write_mask(tmp_path / "pictures" / "masks" / f"p{number}.png", 255 * mask[None].astype(np.uint8), geometry)
    small = ["network.features=4", "train.steps=2", "train.batch_size=2", "train.workers=0", "data.workers=0"]
    small += ["data.patch=32,32", "data.validation=0.3"]
    done = cli("train", tmp_path / "pictures", "--out", tmp_path / "run", *small)
    assert done.code == 0, done.err
    done = cli("report", tmp_path / "run")
    assert done.code == 0, done.err
    text = (tmp_path / "run" / "report.html").read_text()
    assert "These cases chose the weights" in text
    for case in gallery(text)["cases"]:
        assert (case["count"], case["numbers"]) == (1, [1])
        shown = np.asarray(picture(case["layers"]["image"][0]).convert("RGB")).astype(int)
        assert np.ptp(shown, axis=(0, 1)).max() > 60
        edge = np.asarray(picture(case["layers"]["reference"][0]).convert("RGBA"))[..., 3]
        assert 0 < (edge > 0).mean() < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such run folder"),
        (["data"], "is not a run folder"),
        (["run", "run"], "say where the report goes"),
        (["run", "run", "--out", "o.html"], "tell them apart with --name"),
        (["run", "--out", "missing/o.html"], "missing: no such folder"),
        (["run", "--out", "o.txt"], "a report is an .html file"),
        (["run", "--out", "mine.html"], "--force"),
        (["run", "--out", "folder.html", "--force"], "is a folder"),
        (["run", "--role", "tset"], "must be one of test, val"),
        (["run", "--role", "test", "--predictions", "data"], "exclude each other"),
        (["run", "--predictions", "a", "--predictions", "b"], "one for each"),
        (["run", "--predictions", "a"], "a does not exist"),
        (["run", "--dataset", "nowhere"], "nowhere does not exist"),
        (["run", "--cases", "-1"], "must be 0 or more"),
        (["run", "--slices", "0"], "must be 1 or more"),
        (["run", "--limit", "0"], "must be above 0"),
    ],
)
def test_mistakes_are_one_line(
    run: Path,
    phantoms: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(run.parent)
    Path("data").symlink_to(phantoms)
    Path("mine.html").write_text("my own page")
    Path("folder.html").mkdir()
    assert message in refused("report", *arguments)
    assert Path("mine.html").read_text() == "my own page"
    assert not (run / "report").exists()


def test_a_run_without_cases_to_judge_and_one_without_its_dataset_are_refused(
    run: Path, refused: Callable[..., str]
) -> None:
    split, config = run / "split.json", run / "config.json"
    kept = split.read_text()
    split.write_text(json.dumps({**json.loads(kept), "val": [], "test": []}))
    assert "has no validation or test case with a label" in refused("report", run)
    assert "has no test case with a label" in refused("report", run, "--role", "test")
    split.write_text(kept)
    config.write_text(config.read_text().replace("phantoms", "phantasms"))
    assert "is not there: say where it is now (--dataset)" in refused("report", run)


def test_a_limit_below_the_tables_and_an_unknown_case_are_refused_and_an_older_report_stays(
    report_of_one: tuple[Path, str], refused: Callable[..., str]
) -> None:
    run, text = report_of_one
    limit = refused("report", run, "--probabilities", "--cases", 0, "--limit", 0.01)
    assert "MB without any picture" in limit
    assert "not among the judged cases; did you mean" in refused("report", run, "--case", "phantom_99")
    assert (run / "report.html").read_text(encoding="utf-8") == text
