"""Scans as people have them, through a trained run: the mask comes back under the scan's name and on its own grid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

Cli = Callable[..., object]

SMALL = {"network.features": 4, "train.steps": 2, "train.batch_size": 2, "train.workers": 0, "data.workers": 0}


def ellipsoid(size: tuple[int, int, int]) -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    return (z**2 + y**2 + x**2 < 0.4).astype(np.uint8)


def volume(array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.5)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((5.0, -3.0, 20.0))
    return image


def in_two_channels(root: Path) -> Path:
    """An nnU-Net folder of four cases with two channels each."""
    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (root / name).mkdir(parents=True)
    for index in range(5):
        mask = ellipsoid((12, 16, 20))
        part = "Ts" if index == 4 else "Tr"
        for channel in range(2):
            noisy = (100 * mask * (channel + 1) + rng.normal(0, 9, mask.shape)).astype(np.float32)
            sitk.WriteImage(volume(noisy), str(root / f"images{part}" / f"case {index}_000{channel}.nii.gz"))
        if part == "Tr":
            sitk.WriteImage(volume(mask), str(root / "labelsTr" / f"case {index}.nii.gz"))
    (root / "dataset.json").write_text(
        '{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "ball": 1}, "file_ending": ".nii.gz"}'
    )
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_two_channels(tmp_path_factory.mktemp("data") / "two channels")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paucis.workflows.train import train

    out = tmp_path_factory.mktemp("runs") / "run"
    train(data, out=out, options={**SMALL, "data.patch": "8,16,16", "data.spacing": "1.5,1,1", "device": "cpu"})
    return out


def predicted(cli: Cli, run: Path, scans: Path, out: Path) -> list[str]:
    done = cli("predict", run, scans, "--out", out, "--device", "cpu")
    assert done.code == 0, done.err  # type: ignore[attr-defined]
    return sorted(path.name for path in out.iterdir() if path.name not in ("maps", "cases.csv", "manifest.json"))


def same_grid(mask: Path, scan: sitk.Image) -> None:
    written = sitk.ReadImage(str(mask))
    assert written.GetSize() == scan.GetSize()[:3]
    for corner in ((0, 0, 0), tuple(n - 1 for n in written.GetSize())):
        place = scan.TransformIndexToPhysicalPoint((*corner, 0)[: scan.GetDimension()])[:3]
        np.testing.assert_allclose(written.TransformIndexToPhysicalPoint(corner), place, atol=1e-3)  # mm


def test_two_channels_of_a_case_give_one_mask_without_the_channels_number(
    run: Path, data: Path, tmp_path: Path, cli: Cli
) -> None:
    assert predicted(cli, run, data / "imagesTs", tmp_path / "out") == ["case 4.nii.gz"]
    same_grid(tmp_path / "out" / "case 4.nii.gz", sitk.ReadImage(str(data / "imagesTs" / "case 4_0000.nii.gz")))


def test_both_channels_in_one_file_of_four_dimensions_give_the_same_mask(
    run: Path, data: Path, tmp_path: Path, cli: Cli
) -> None:
    channels = [sitk.ReadImage(str(data / "imagesTs" / f"case 4_000{index}.nii.gz")) for index in range(2)]
    (tmp_path / "scans").mkdir()
    scan = tmp_path / "scans" / "a.b c.v2.nii.gz"  # dots and spaces in a name
    sitk.WriteImage(sitk.JoinSeries(channels), str(scan))
    assert predicted(cli, run, scan, tmp_path / "out") == ["a.b c.v2.nii.gz"]
    predicted(cli, run, data / "imagesTs", tmp_path / "other")
    masks = [tmp_path / "out" / scan.name, tmp_path / "other" / "case 4.nii.gz"]
    np.testing.assert_array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(str(mask))) for mask in masks))
    same_grid(masks[0], channels[0])


def reoriented(scan: sitk.Image, order: str) -> sitk.Image:
    return sitk.DICOMOrient(scan, order)


@pytest.mark.parametrize("order", ["RAI", "PIR", "SAL"])
def test_a_scan_stored_another_way_round_gets_the_same_mask_in_space(
    order: str, run: Path, data: Path, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "scans").mkdir()
    for index in range(2):
        scan = sitk.ReadImage(str(data / "imagesTs" / f"case 4_000{index}.nii.gz"))
        sitk.WriteImage(reoriented(scan, order), str(tmp_path / "scans" / f"turned_000{index}.nii.gz"))
    predicted(cli, run, tmp_path / "scans", tmp_path / "out")
    predicted(cli, run, data / "imagesTs", tmp_path / "other")
    turned = sitk.ReadImage(str(tmp_path / "out" / "turned.nii.gz"))
    same_grid(tmp_path / "out" / "turned.nii.gz", reoriented(scan, order))
    back = sitk.GetArrayFromImage(reoriented(turned, "LPS"))
    np.testing.assert_array_equal(back, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "other/case 4.nii.gz"))))


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 5, 4), (2, 40, 7)])
def test_scans_smaller_than_the_patch_are_predicted(
    size: tuple[int, int, int], run: Path, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "scans").mkdir()
    scan = volume(np.random.default_rng(0).normal(size=size).astype(np.float32))
    for index in range(2):
        sitk.WriteImage(scan, str(tmp_path / "scans" / f"tiny_000{index}.nii.gz"))
    assert predicted(cli, run, tmp_path / "scans", tmp_path / "out") == ["tiny.nii.gz"]
    same_grid(tmp_path / "out" / "tiny.nii.gz", scan)


def test_pictures_with_a_palette_give_a_mask_of_their_size(tmp_path: Path, cli: Cli) -> None:
    from paucis.workflows.train import train

    rng = np.random.default_rng(0)
    for folder in ("images", "masks", "new"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for index in range(4):
        mask = ellipsoid((3, 40, 32))[1]
        colors = np.stack([120 * mask, 80 + 0 * mask, 200 - 120 * mask], -1) + rng.integers(0, 40, (40, 32, 3))
        picture = Image.fromarray(colors.astype(np.uint8)).quantize(16)
        assert picture.mode == "P"
        picture.save(tmp_path / "data" / ("new" if index == 3 else "images") / f"photo {index}.png")
        if index < 3:
            Image.fromarray(255 * mask).save(tmp_path / "data" / "masks" / f"photo {index}.png")
    shutil.move(tmp_path / "data" / "new", tmp_path / "new")
    train(tmp_path / "data", out=tmp_path / "run", options={**SMALL, "data.patch": "16,16", "device": "cpu"})
    assert predicted(cli, tmp_path / "run", tmp_path / "new", tmp_path / "out") == ["photo 3.png"]
    mask = np.asarray(Image.open(tmp_path / "out" / "photo 3.png"))
    assert mask.shape == (40, 32)
    assert set(np.unique(mask)) <= {0, 255}
