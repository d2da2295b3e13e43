"""Files come back as they were written; what is damaged or ambiguous is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from paucis.data import formats
from paucis.data.case import Geometry
from paucis.data.corners import corner_distance, corners
from paucis.errors import PaucisError

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def volume(path: Path, direction: tuple[float, ...] = OBLIQUE, dtype: type = np.int16) -> np.ndarray:
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-12.5, 30.25, 7.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path), True)
    return array


@pytest.mark.parametrize("direction", [OBLIQUE, FLIPPED])
@pytest.mark.parametrize("suffix", VOLUMES)
def test_a_mask_lies_where_its_scan_lies(tmp_path: Path, suffix: str, direction: tuple[float, ...]) -> None:
    array = volume(tmp_path / f"scan{suffix}", direction)
    scan = formats.read_image([tmp_path / f"scan{suffix}"])
    assert scan.array.dtype == np.int16
    np.testing.assert_array_equal(scan.array[0], array)
    assert scan.geometry.spacing == pytest.approx((2.5, 0.9, 0.7), abs=1e-6)
    assert formats.read_geometry(tmp_path / f"scan{suffix}") == scan.geometry

    target = tmp_path / "out" / f"mask{formats.mask_suffix(scan.geometry)}"
    formats.write_mask(target, (array > 20).astype(np.int64), scan.geometry)
    mask = formats.read_label(target)
    assert target.name == f"mask{suffix}"
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array[0], array > 20)
    assert corner_distance(mask.geometry, scan.geometry, array.shape) < 1e-4
    reference = sitk.ReadImage(str(target))  # the same points through SimpleITK's own transform
    far = reference.TransformIndexToPhysicalPoint((4, 3, 2))
    np.testing.assert_allclose(corners(scan.geometry, array.shape)[-1], far, atol=1e-4)


@pytest.mark.parametrize("suffix", VOLUMES)
def test_a_map_keeps_its_float_values(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    formats.write_map(tmp_path / f"map{suffix}", array, Geometry(direction=OBLIQUE, suffix=suffix))
    np.testing.assert_array_equal(formats.read_map(tmp_path / f"map{suffix}").array[0], array)


@pytest.mark.parametrize(("suffix", "mask", "entropy"), [(".jpg", ".png", ".tiff"), (".h5", ".h5", ".h5")])
def test_pictures_and_h5_get_masks_and_maps_of_their_own_kind(
    tmp_path: Path, suffix: str, mask: str, entropy: str
) -> None:
    geometry = Geometry(physical=False, suffix=suffix, dims=2 if suffix == ".jpg" else 3)
    assert (formats.mask_suffix(geometry), formats.map_suffix(geometry)) == (mask, entropy)
    values = np.random.default_rng(0).random((1, 6, 7)).astype(np.float32)
    formats.write_mask(tmp_path / f"a{mask}", (values > 0.5) * 255, geometry)
    formats.write_map(tmp_path / f"b{entropy}", values, geometry)
    np.testing.assert_array_equal(formats.read_label(tmp_path / f"a{mask}").array[0], (values > 0.5) * 255)
    np.testing.assert_array_equal(formats.read_map(tmp_path / f"b{entropy}").array[0], values)


def test_values_beyond_a_byte_survive_as_png(tmp_path: Path) -> None:
    mask = np.array([[[0, 300], [70, 65535]]])
    formats.write_mask(tmp_path / "a.png", mask, Geometry(physical=False, suffix=".png", dims=2))
    np.testing.assert_array_equal(formats.read_label(tmp_path / "a.png").array[0], mask)


def test_a_2d_image_with_geometry_goes_back_as_2d(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    scan = formats.read_image([tmp_path / "a.mha"])
    assert scan.array.shape == (1, 1, 3, 4)
    assert (scan.geometry.dims, scan.geometry.spacing) == (2, (1.0, 0.25, 0.5))
    formats.write_mask(tmp_path / "m.mha", scan.array[0], scan.geometry)
    assert sitk.ReadImage(str(tmp_path / "m.mha")).GetSpacing() == (0.5, 0.25)


def test_channels_come_from_one_4d_file_or_from_several(tmp_path: Path) -> None:
    first, second = (
        volume(tmp_path / f"a_000{index}.nii.gz", dtype=kind) for index, kind in ((0, np.int16), (1, np.float32))
    )
    joined = sitk.JoinSeries([sitk.GetImageFromArray(array.astype(np.float32)) for array in (first, second)])
    sitk.WriteImage(joined, str(tmp_path / "all.nii.gz"))
    vector = sitk.Compose([sitk.GetImageFromArray(array.astype(np.float32)) for array in (first, second)])
    sitk.WriteImage(vector, str(tmp_path / "vector.nrrd"))
    parts = formats.read_image([tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"])
    for path in ("all.nii.gz", "vector.nrrd"):
        np.testing.assert_array_equal(formats.read_image([tmp_path / path]).array, parts.array)
    assert formats.read_image([tmp_path / "all.nii.gz"]).geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_channels_on_other_grids_are_refused(tmp_path: Path) -> None:
    volume(tmp_path / "a_0000.nii.gz")
    volume(tmp_path / "a_0001.nii.gz", FLIPPED)
    with pytest.raises(PaucisError, match=r"a_0001.nii.gz lies .* mm from channel a_0000"):
        formats.read_image([tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_pictures_keep_their_16_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    array = (np.arange(5 * 6 * channels).reshape(5, 6, channels) * 300).astype(np.uint16)
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", array[..., 0] if channels == 1 else array)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=channels > 1) if channels > 1 else
                        sitk.GetImageFromArray(array[..., 0]), str(tmp_path / "a.png"))  # fmt: skip
    read = formats.read_image([tmp_path / f"a{suffix}"])
    assert read.array.dtype == np.uint16
    np.testing.assert_array_equal(read.array[:, 0], np.moveaxis(array, -1, 0))
    assert read.geometry == formats.read_geometry(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK"])
def test_pictures_lose_alpha_and_nothing_else(tmp_path: Path, mode: str) -> None:
    colors = np.random.default_rng(0).integers(0, 2, (5, 6, 3)).astype(np.uint8) * 255
    picture = Image.fromarray(colors).convert(mode)
    suffix = ".tif" if mode == "CMYK" else ".png"
    picture.save(tmp_path / f"a{suffix}")
    read = formats.read_image([tmp_path / f"a{suffix}"]).array
    assert len(read) == (1 if mode in ("L", "LA", "1") else 3)
    if mode in ("RGB", "RGBA", "CMYK"):
        np.testing.assert_array_equal(np.moveaxis(read[:, 0], 0, -1), colors)


def test_a_tiff_stack_is_a_volume_without_geometry(tmp_path: Path) -> None:
    array = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    read = formats.read_image([tmp_path / "a.tif"])
    np.testing.assert_array_equal(read.array[0], array)
    assert (read.geometry.dims, read.geometry.physical) == (3, False)
    assert formats.read_geometry(tmp_path / "a.tif") == read.geometry
    formats.write_mask(tmp_path / f"m{formats.mask_suffix(read.geometry)}", array > 9, read.geometry)
    np.testing.assert_array_equal(formats.read_label(tmp_path / "m.tif").array[0], array > 9)


def palette_mask(path: Path, indices: np.ndarray, colors: list[tuple[int, int, int]]) -> Path:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([level for color in colors for level in color])
    image.save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_colored_palette_masks_give_their_indices(tmp_path: Path, suffix: str) -> None:
    indices = np.arange(12).reshape(3, 4) % 3
    path = palette_mask(tmp_path / f"a{suffix}", indices, [(0, 0, 0), (255, 0, 0), (0, 255, 0)])
    np.testing.assert_array_equal(formats.read_label(path).array[0, 0], indices)
    assert formats.read_image([path]).array[:, 0, 0, 1].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_gray_palette_masks_give_the_gray_that_is_seen(tmp_path: Path, suffix: str) -> None:
    seen = np.array([[0, 255, 255], [0, 0, 255]])
    straight = palette_mask(tmp_path / f"a{suffix}", seen // 255, [(0, 0, 0), (255, 255, 255)])
    turned = palette_mask(tmp_path / f"b{suffix}", 1 - seen // 255, [(255, 255, 255), (0, 0, 0)])
    for path in (straight, turned):
        np.testing.assert_array_equal(formats.read_label(path).array[0, 0], seen)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_1_bit_masks_give_0_and_1(tmp_path: Path, suffix: str) -> None:
    mask = np.array([[0, 1, 1], [1, 0, 0]])
    Image.fromarray(mask.astype(bool)).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(formats.read_label(tmp_path / f"a{suffix}").array[0, 0], mask)


def test_a_tiff_whose_white_is_zero_is_turned(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[255, 0]], np.uint8), photometric="miniswhite")
    assert formats.read_label(tmp_path / "a.tif").array.ravel().tolist() == [0, 255]


def test_masks_of_equal_channels_and_whole_floats_are_taken(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2, 3), 7, np.uint8)).save(tmp_path / "a.png")
    volume(tmp_path / "b.nii.gz", dtype=np.float32)
    assert formats.read_label(tmp_path / "a.png").array.shape == (1, 1, 2, 2)
    assert np.issubdtype(formats.read_label(tmp_path / "b.nii.gz").array.dtype, np.integer)


def test_masks_that_are_not_exact_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.jpg")
    Image.fromarray(np.eye(3, dtype=np.uint8)[None] * 255).save(tmp_path / "b.png")
    for name, value in (("c", 0.5), ("d", np.nan)):
        sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 3, 4), value, np.float32)), str(tmp_path / f"{name}.nii.gz"))
    for file, reason in (
        ("a.jpg", "JPEG mask"),
        ("b.png", "differing channels"),
        ("c.nii.gz", "not whole"),
        ("d.nii.gz", "not whole"),
    ):
        with pytest.raises(PaucisError, match=rf"{file}.*{reason}"):
            formats.read_label(tmp_path / file)


@pytest.mark.parametrize("suffix", [*VOLUMES, ".png", ".tif", ".gif", ".bmp", ".jpg", ".h5"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_truncated_files_are_named_and_nothing_else_is_said(
    tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (1, 40, 50)).astype(np.uint8)
    if suffix in VOLUMES:
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), True)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["image"] = noise
    else:
        Image.fromarray(noise[0]).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PaucisError, match=rf"a{suffix} .*(copy|download)"):
        formats.read_image([path])
    assert capfd.readouterr().err == ""


def test_a_short_uncompressed_nifti_is_not_filled_with_zeros(tmp_path: Path) -> None:
    volume(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-2])
    with pytest.raises(PaucisError, match="truncated"):
        formats.read_image([tmp_path / "a.nii"])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_nan_and_infinity_are_not_turned_to_zero(tmp_path: Path, suffix: str, kind: type) -> None:
    array = np.random.default_rng(0).random((2, 40, 70, 60)).astype(kind)
    array[0, 0, 0, 1], array[1, 39, 5, 7], array[1, 20, 69, 59] = np.nan, np.inf, -np.inf
    joined = sitk.JoinSeries([sitk.GetImageFromArray(part) for part in array])
    sitk.WriteImage(joined, str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(formats.read_image([tmp_path / f"a{suffix}"]).array, array)


def test_missing_files_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("text")
    with pytest.raises(PaucisError, match="does not exist"):
        formats.read_image([tmp_path / "none.nii.gz"])
    with pytest.raises(PaucisError, match=r"unknown format.*\.nii\.gz"):
        formats.read_image([tmp_path / "a.docx"])


def test_h5_slices_are_stacks_of_one_and_other_keys_stay_shut(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["scribble"] = np.ones((4, 5), np.float32), np.ones((9, 9, 9, 9))
    assert formats.read_image([tmp_path / "a.h5"]).array.shape == (1, 1, 4, 5)
    with pytest.raises(PaucisError, match="holds no 'label'"):
        formats.read_label(tmp_path / "a.h5")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tiff", ".h5"])
def test_a_full_disk_leaves_nothing_that_looks_finished(tmp_path: Path, suffix: str) -> None:
    script = (
        "import resource, sys, numpy as np; from pathlib import Path\n"
        "from paucis.data import formats; from paucis.data.case import Geometry\n"
        "from paucis.errors import PaucisError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"path = Path({str(tmp_path / ('a' + suffix))!r})\n"
        "array = np.random.default_rng(0).integers(0, 255, (1, 200, 200))\n"
        "try: formats.write_mask(path, array, Geometry(suffix='.nii.gz'))\n"
        "except PaucisError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(PaucisError, match="cannot be written"):
        formats.write_mask(tmp_path / "out" / "a.png", np.zeros((1, 2, 2), int), Geometry(suffix=".png"))


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.b_0000.nii.gz", "a.b"), ("IMG_0012.png", "IMG_0012"), ("x.NII.GZ", "x"), ("ISIC_0000000.jpg", "ISIC_0000000")],
)
def test_a_stem_drops_the_suffix_and_the_first_channel(name: str, stem: str) -> None:
    assert formats.stem(Path(name)) == stem


@pytest.mark.realdata
def test_published_vessel_masks_are_binary(real_data: Path) -> None:
    folders = ("drive/1st_manual", "drive/fov", "chase_db1/manual1", "chase_db1/manual2", "octa_dsa_masks/DSA_mask")
    for folder in (*folders, "octa_dsa_masks/OCTA_vessel_mask"):
        files = [file for file in sorted((real_data / folder).iterdir()) if formats.suffix(file)]
        assert files
        for file in files[:3]:
            values = np.unique(formats.read_label(file).array)
            assert len(values) == 2, file
            assert values[0] == 0
