"""Readers give every picture of a complete source the part that the literature has it in; no file is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from paucis.datasets import find
from paucis.datasets.readers import READERS
from paucis.datasets.scan import Scan
from paucis.datasets.source import Source
from paucis.datasets.table import expand

STRUCTURES = ("right lung", "left lung", "heart", "right clavicle", "left clavicle")
NUMBERS = [f"{number:02}" for number in range(1, 41)]


def part(number: str) -> str:
    return "test" if int(number) <= 20 else "training"


def fundus(name: str) -> list[str]:
    """The files of a complete source, as far as names go."""
    ids = find(name).ids
    if name == "chase-db1":
        return [f"{one}{ending}" for one in ids for ending in (".jpg", "_1stHO.png", "_2ndHO.png")]
    if name == "hrf":
        return [file for one in ids for file in (f"images/{one}.jpg", f"manual1/{one}.tif", f"mask/{one}_mask.tif")]
    if name == "stare":
        return [file for one in ids for file in (f"{one}.ppm.gz", f"{one}.ah.ppm.gz", f"{one}.vk.ppm.gz")]
    if name == "idrid":
        return [file for one in ids for file in (f"1. Original Images/{one}.jpg", f"2. All/{one}_OD.tif")]
    masks = {"drive": "1st_manual/{0}_manual1.gif", "rite": "vessel/{0}_{1}.png"}[name]
    files = [f"{part(one)}/images/{one}_{part(one)}.tif" for one in NUMBERS]
    return files + [f"{part(one)}/{masks.format(one, part(one))}" for one in NUMBERS]


def found(name: str, files: list[str], folder: Path) -> list[Scan]:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    published, source = find(name), Source(folder)
    scans = READERS[published.reader](source, **published.options).scans
    assert not source.problems
    assert len(scans) == published.expect
    return scans


def sizes(scans: list[Scan]) -> tuple[int, int]:
    roles = [scan.role for scan in scans]
    return roles.count("train"), roles.count("test")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chase-db1", (20, 8)),
        ("hrf", (25, 20)),
        ("drive", (20, 20)),
        ("rite", (20, 20)),
        ("stare", (10, 10)),
        ("idrid", (54, 27)),
    ],
)
def test_fundus_pictures_train_and_test_in_the_numbers_of_the_paper(
    name: str, expected: tuple[int, int], tmp_path: Path
) -> None:
    assert sizes(found(name, fundus(name), tmp_path)) == expected


def test_hrf_trains_on_the_first_eight_of_each_kind_and_one_more(tmp_path: Path) -> None:
    trains = {scan.name for scan in found("hrf", fundus("hrf"), tmp_path) if scan.role == "train"}
    assert trains == set(expand("{01-08}_dr,{01-08}_g,{01-08}_h,09_dr"))


def test_stare_tests_on_the_last_ten_outlined_pictures(tmp_path: Path) -> None:
    tests = {scan.name for scan in found("stare", fundus("stare"), tmp_path) if scan.role == "test"}
    assert tests == set(expand("im{0162-0163},im{0235-0236},im{0239-0240},im0255,im0291,im0319,im0324"))


def test_jsrt_is_cut_into_the_folds_of_scr(tmp_path: Path) -> None:
    names = find("jsrt").ids
    files = [f"All247images/{name}.IMG" for name in names]
    for name in names:
        fold = 1 if int(name[-3:]) % 2 else 2
        files += [f"scratch/fold{fold}/masks/{structure}/{name}.gif" for structure in STRUCTURES]
    assert sizes(found("jsrt", files, tmp_path)) == (124, 123)


@pytest.mark.parametrize(
    ("name", "year", "expected"),
    [("isic2016", "ISBI2016_ISIC_Part1", (900, 379)), ("isic2017", "ISIC-2017", (2000, 600))],
)
def test_isic_keeps_its_publishers_parts(name: str, year: str, expected: tuple[int, int], tmp_path: Path) -> None:
    parts = {"Training": expected[0], "Validation": 150, "Test_v2": expected[1]}
    files, number = [], 0
    for folder, count in parts.items():
        for _ in range(count if folder != "Validation" or name == "isic2017" else 0):
            number += 1
            files += [f"{year}_{folder}_Data/ISIC_{number:07}.jpg"]
            files += [f"{year}_{folder}_GroundTruth/ISIC_{number:07}_segmentation.png"]
    assert sizes(found(name, files, tmp_path)) == expected
