"""Sources that are empty, wrong, incomplete or damaged: one line, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bringing import unpacked
from miniatures import chase, colors, disk, save

from paucis.cli import main
from paucis.datasets import converting, shipped
from paucis.errors import PaucisError
from paucis.workflows.prepare import prepare


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def refused(capfd: pytest.CaptureFixture[str], name: str, source: Path, out: Path, *options: str) -> str:
    """The one line; whatever lies beside ``out`` afterwards lay there before."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(SystemExit) as left:
        main(["prepare", name, str(source), "--out", str(out), *options])
    assert left.value.code == 2
    written = capfd.readouterr()
    lines = written.err.strip().splitlines()
    assert all(line.startswith("preparing ") for line in lines[:-1]), written.err  # progress, on a slow machine
    assert sorted(out.parent.iterdir()) == before
    return lines[-1]


def test_an_empty_folder(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(capfd, "acdc", tmp_path / "empty", tmp_path / "out")
    assert "is empty" in line
    assert "patient001/Info.cfg" in line


@pytest.mark.parametrize("name", shipped())
def test_no_dataset_is_made_of_an_empty_folder_or_of_another_dataset(name: str, sources: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    another = unpacked("idrid" if name == "stare" else "stare", sources)
    for source, said in ((tmp_path / "empty", "is empty: it must hold"), (another, "holds no ")):
        with pytest.raises(PaucisError, match=said) as refused:
            prepare(name, source, out=tmp_path / "out", partial=True)
        assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("name", [name for name, dataset in shipped().items() if dataset.expect])
def test_a_part_of_a_dataset_is_taken_only_where_that_is_asked_for(name: str, sources: Path, tmp_path: Path) -> None:
    with pytest.raises(PaucisError, match=r"is no complete .*(missing).*--partial") as refused:
        prepare(name, unpacked(name, sources), out=tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_no_folder_at_all(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is not a folder" in refused(capfd, "acdc", tmp_path / "nowhere", tmp_path / "out")


def test_another_dataset(capfd: pytest.CaptureFixture[str], tmp_path: Path, sources: Path) -> None:
    line = refused(capfd, "la", unpacked("isic2018", sources), tmp_path / "out")
    assert "holds no Left Atrium 2018" in line
    assert "CASE/lgemri.nrrd" in line


def test_archives_that_are_still_packed(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "ISIC2018_Task1-2_Training_Input.zip").write_bytes(b"PK")
    line = refused(capfd, "isic2018", tmp_path / "source", tmp_path / "out")
    assert "unpack ISIC2018_Task1-2_Training_Input.zip first" in line


def test_an_incomplete_source_is_named_file_by_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chase(tmp_path / "source", subjects=range(1, 15))
    (tmp_path / "source" / "Image_07L_1stHO.png").unlink()
    for eye in ("L", "R"):
        (tmp_path / "source" / f"Image_12{eye}.jpg").unlink()
    line = refused(capfd, "chase-db1", tmp_path / "source", tmp_path / "out")
    assert "Image_07L.jpg: its label is missing" in line
    assert "Image_12L: it is missing" in line
    assert "Image_12R: it is missing" in line
    assert "--partial" in line


def test_a_complete_source_is_taken_without_partial(tmp_path: Path) -> None:
    chase(tmp_path / "source", subjects=range(1, 15))
    done = prepare("chase-db1", tmp_path / "source", out=tmp_path / "out", protocol="whole")
    assert (done.scans, done.patients, done.split) == (28, 14, ({"train": 20, "test": 8},))
    assert done.left_out == ()


def test_all_problems_are_listed_for_programs(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chase(tmp_path / "source", subjects=[1])
    with pytest.raises(SystemExit) as left:
        main(["prepare", "chase-db1", str(tmp_path / "source"), "--out", str(tmp_path / "out"), "--json"])
    assert left.value.code == 2
    written = capfd.readouterr()
    assert len(json.loads(written.out)["problems"]) == 26
    assert "and 21 more (--json lists all)" in written.err


def test_damaged_files_are_named_together(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chase(tmp_path / "source", subjects=range(1, 15))
    for name in ("Image_03R.jpg", "Image_05L_1stHO.png"):
        content = (tmp_path / "source" / name).read_bytes()
        (tmp_path / "source" / name).write_bytes(content[: len(content) // 3])
    line = refused(capfd, "chase-db1", tmp_path / "source", tmp_path / "out")
    assert "Image_03R.jpg" in line
    assert "Image_05L_1stHO.png" in line


def test_with_partial_what_is_whole_is_taken_and_the_rest_told(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chase(tmp_path / "source", subjects=[1, 2, 11])
    (tmp_path / "source" / "Image_02L.jpg").write_bytes(b"")
    with pytest.raises(SystemExit) as left:
        main(["prepare", "chase-db1", str(tmp_path / "source"), "--out", str(tmp_path / "out"), "--partial"])
    assert left.value.code == 0
    told = capfd.readouterr().out
    assert "5 labeled scans of 3 patients" in told
    assert told.index("Image_02L.jpg") < told.index("it is missing")
    assert json.loads((tmp_path / "out" / "splits.json").read_text())["test"] == ["Image_11L", "Image_11R"]


def test_no_split_is_made_up_for_a_part_of_a_source(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, sources: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "isic2018", str(unpacked("isic2018", sources)), "--out", str(tmp_path / "out"), "--partial"])
    assert "no split was written" in capfd.readouterr().out
    assert not (tmp_path / "out" / "splits.json").exists()


def test_a_mask_of_another_size_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path, sources: Path) -> None:
    source = shutil.copytree(unpacked("stare", sources), tmp_path / "source")
    save(source / "labels-ah" / "im0001.ah.ppm", disk(1, (20, 20)).astype("uint8") * 255)
    done = prepare("stare", source, out=tmp_path / "out", partial=True)
    assert done.left_out[0].file.endswith("im0001.ah.ppm")
    assert done.scans == 3


def test_one_picture_twice_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chase(tmp_path / "source", subjects=[1])
    save(tmp_path / "source" / "copy" / "Image_01L.jpg", colors(3, disk(3)))
    assert "is there twice" in refused(capfd, "chase-db1", tmp_path / "source", tmp_path / "out")


def test_a_folder_that_is_not_empty_stays_as_it_is(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, sources: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    source = unpacked("stare", sources)
    assert "is not empty" in refused(capfd, "stare", source, tmp_path / "out", "--partial")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert "within the source" in refused(capfd, "stare", source, source / "out", "--partial")


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, sources: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("stare", unpacked("stare", sources), out=tmp_path / "out", partial=True, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_many_scans_are_prepared_by_processes_with_the_same_result(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(unpacked("stare", sources), tmp_path / "source")
    damaged = source / "labels-ah" / "im0002.ah.ppm"
    damaged.write_bytes(damaged.read_bytes()[:20])
    alone = prepare("stare", source, out=tmp_path / "alone", protocol="whole", partial=True)
    monkeypatch.setattr(converting, "MANY", 1)
    monkeypatch.setattr(converting, "prepare_workers", lambda _: 2)
    together = prepare("stare", source, out=tmp_path / "together", protocol="whole", partial=True)
    assert together.left_out == alone.left_out
    assert str(damaged) == together.left_out[0].file
    written = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")}
        for root in (alone.root, together.root)
    ]
    assert written[0] == written[1]


def test_unknown_names_and_protocols(capfd: pytest.CaptureFixture[str], tmp_path: Path, sources: Path) -> None:
    source = unpacked("stare", sources)
    assert "did you mean 'stare'" in refused(capfd, "star", source, tmp_path / "out")
    assert "did you mean 'whole'" in refused(capfd, "stare", source, tmp_path / "out", "--protocol", "wholes")
