"""Miniatures of published datasets as their publishers lay them out: names, formats, bit depths and quirks.

``MINIATURES[name](root)`` writes a few small scans of the dataset ``name`` of the table. Content is made up.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from making_dicom import head, pixels
from making_dicom import save as save_dicom

SIDE = 40


def disk(index: int, shape: Sequence[int] = (SIDE, SIDE), radius: float = 0.25) -> np.ndarray:
    """A disk, or ball, a little elsewhere in each scan."""
    center = [size / 2 + (index % 3) - 1 for size in shape]
    grid = np.ogrid[tuple(slice(size) for size in shape)]
    far = sum(
        ((place - middle) / (size * radius)) ** 2 for place, middle, size in zip(grid, center, shape, strict=True)
    )
    return np.asarray(far <= 1)


def colors(index: int, mask: np.ndarray, field: bool = False) -> np.ndarray:
    """An RGB picture that shows the mask; with ``field`` black outside a camera's round field."""
    rng = np.random.default_rng(index)
    image = rng.integers(60, 120, (*mask.shape, 3)).astype(np.uint8)
    image[mask] += 90
    if field:
        image[~disk(1, mask.shape, 0.45)] = 3
    return image


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def gray(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 255, 0).astype(np.uint8)


def volume(path: Path, array: np.ndarray, spacing: Sequence[float] = (1.5, 1.5, 5.0)) -> None:
    """Writes (Z, Y, X), or (C, Z, Y, X) as a file of four dimensions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing([*spacing, 1.0][: array.ndim])
    sitk.WriteImage(image, str(path))


def scan(index: int, shape: Sequence[int] = (8, 24, 28)) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label of class 1."""
    label = disk(index, shape, 0.3).astype(np.uint8)
    return (np.random.default_rng(index).normal(100, 20, shape) + 200 * label).astype(np.int16), label


def msd(root: Path, prefix: str, channels: int = 1, classes: Sequence[str] = ("organ",), cases: int = 4) -> None:
    entries = []
    for index in range(1, cases + 1):
        image, label = scan(index)
        if channels > 1:
            image = np.stack([image + 10 * channel for channel in range(channels)])
        if len(classes) > 1:
            label[label.shape[0] // 2 :] *= 2
        name = f"{prefix}{index:03}.nii.gz"
        volume(root / "imagesTr" / name, image)
        volume(root / "labelsTr" / name, label.astype(np.float32) if index == 1 else label)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    volume(root / "imagesTs" / f"{prefix}099.nii.gz", image[..., ::-1].copy())
    description = {
        "name": "any",
        "modality": {str(channel): f"m{channel}" for channel in range(channels)},
        "labels": {"0": "background", **{str(i): name for i, name in enumerate(classes, 1)}},
        "numTraining": cases,
        "training": entries,
        "test": [f"./imagesTs/{prefix}099.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(description))


def heart(index: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label of three classes."""
    image, label = scan(index)
    label[:, 12:] *= 2
    label[:, :, 14:] *= 3
    label[label > 3] = 3
    return image, label


def acdc(root: Path, patients: Sequence[int] = (1, 38, 50, 99, 101)) -> None:
    for patient in patients:
        folder = root / ("training" if patient <= 100 else "testing") / f"patient{patient:03}"
        for frame in (1, 9):
            image, label = heart(patient + 100 * frame)
            name = f"patient{patient:03}_frame{frame:02}"
            volume(folder / f"{name}.nii.gz", image)
            volume(folder / f"{name}_gt.nii.gz", label)
        volume(folder / f"patient{patient:03}_4d.nii.gz", np.stack([image, image]))
        (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")


def h5(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image.astype(np.float32), label


def acdc_h5(root: Path) -> None:
    for patient in (1, 38, 50, 99):
        for frame in (1, 2):
            image, label = heart(patient + 100 * frame)
            name = f"patient{patient:03}_frame{frame:02}"
            h5(root / "data" / f"{name}.h5", (image - image.min()) / np.ptp(image), label)
            h5(root / "data" / "slices" / f"{name}_slice_0.h5", image[0], label[0])


def atrium(root: Path) -> None:
    for index, case in enumerate(("0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX", "A", "B")):
        image, label = scan(index, (10, 40, 44))
        volume(root / "Training Set" / case / "lgemri.nrrd", image.clip(0, 255).astype(np.uint8), (0.625,) * 3)
        volume(root / "Training Set" / case / "laendo.nrrd", gray(label > 0), (0.625,) * 3)


def atrium_h5(root: Path) -> None:
    for index, case in enumerate(("06SR5RBREL16DQ6M8LWS", "1GU15S0GJ6PFNARO469W", "A", "B")):
        image, label = scan(index, (28, 24, 8))
        h5(root / case / "mri_norm2.h5", (image - image.mean()) / image.std(), label)


def pancreas(root: Path, cases: Sequence[int] = (1, 2, 3, 42, 43, 25)) -> None:
    """Files named from the head, slices numbered from the feet; of even cases from the head.

    The label has the slices in the order of their numbers, and its header lays it down mirrored from front to back.
    """
    for case in cases:
        label = np.zeros((10, 32, 36), np.uint8)
        label[3:6, 4:10, 6:14] = 1
        hounsfield = np.where(label > 0, 60 + case, -950).astype(np.int16)
        folder = root / "Pancreas-CT" / f"PANCREAS_{case:04}" / "11-24-2015-study" / "series"
        up = case % 2 == 1
        series = head(generate_uid(), generate_uid()), generate_uid()
        for place, values in enumerate(hounsfield):
            number = place + 1 if up else len(label) - place
            slice_of(folder / f"1-{len(label) - place:03}.dcm", values, number, -200 + 1.5 * place, *series)
        mirrored = sitk.GetImageFromArray(label if up else label[::-1])
        mirrored.SetSpacing((0.8, 0.8, 1.5))
        mirrored.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
        path = root / "TCIA_pancreas_labels-02-05-2017" / f"label{case:04}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(mirrored, str(path))


def slice_of(path: Path, values: np.ndarray, number: int, place: float, series: Any, frame: str) -> None:
    """A slice of CT: what is stored is 1024 above Hounsfield units, and the thickness is not the distance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = deepcopy(series)
    one.SOPInstanceUID, one.FrameOfReferenceUID, one.InstanceNumber = generate_uid(), frame, number
    one.ImagePositionPatient, one.ImageOrientationPatient = [-10, -12, place], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness = [0.8, 0.8], 1
    one.Rows, one.Columns = values.shape
    one.RescaleSlope, one.RescaleIntercept = 1, -1024
    pixels(one, values + 1024)
    save_dicom(one, path)


def radiograph(path: Path, values: np.ndarray) -> None:
    """A chest X-ray of 8 bits as JPEG, without a place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one, packed = head(generate_uid(), generate_uid(), "CR"), io.BytesIO()
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    pixels(one, values)
    one.Rows, one.Columns, one.PixelSpacing = *values.shape, [0.168, 0.168]
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
    Image.fromarray(values).save(packed, "JPEG", quality=95)
    one.PixelData = encapsulate([packed.getvalue()])
    one["PixelData"].is_undefined_length = True
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    one.save_as(path, enforce_file_format=True)


def pancreas_h5(root: Path) -> None:
    for case in (1, 2, 3, 26, 70):
        image, label = scan(case, (28, 24, 10))
        h5(root / f"image{case:04}_norm.h5", image, label)


def brats(root: Path) -> None:
    for index in range(4):
        image, label = scan(index)
        label[:, 12:] *= 4
        label[4:] *= 2
        label[label == 8] = 2
        name = f"BraTS19_2013_{index}_1"
        folder = root / "MICCAI_BraTS_2019_Data_Training" / ("HGG" if index % 2 else "LGG") / name
        for modality in ("t1", "t1ce", "t2", "flair"):
            volume(folder / f"{name}_{modality}.nii.gz", image)
        volume(folder / f"{name}_seg.nii.gz", label)


def isic(root: Path, year: str, parts: Sequence[str], ending: str = "segmentation") -> None:
    for offset, part in enumerate(parts):
        for index in range(4):
            mask, name = disk(index), f"ISIC_{100 * offset + index:07}"
            save(root / f"{year}_{part}_Data" / f"{name}.jpg", colors(4 * offset + index, mask))
            save(root / f"{year}_{part}_GroundTruth" / f"{name}_{ending}.png", gray(mask))
            save(root / f"{year}_{part}_Data" / f"{name}_superpixels.png", colors(index, mask))


def ph2(root: Path) -> None:
    for index in range(4):
        folder, mask = root / "PH2Dataset" / "PH2 Dataset images" / f"IMD{index:03}", disk(index)
        save(folder / f"IMD{index:03}_Dermoscopic_Image" / f"IMD{index:03}.bmp", colors(index, mask))
        save(folder / f"IMD{index:03}_lesion" / f"IMD{index:03}_lesion.bmp", mask)
        save(folder / f"IMD{index:03}_roi" / f"IMD{index:03}_R1_Label3.bmp", mask)


def ph2_with_isic(root: Path) -> None:
    ph2(root)
    isic(root, "ISBI2016_ISIC_Part1", ["Training", "Test"], "Segmentation")


def montgomery(root: Path) -> None:
    for index in range(4):
        left, right = disk(index, radius=0.2), np.roll(disk(index, radius=0.2), 8, 1)
        name = f"MCUCXR_{index:04}_{index % 2}.png"
        save(root / "MontgomerySet" / "CXR_png" / name, colors(index, left | right)[..., 0])
        save(root / "MontgomerySet" / "ManualMask" / "leftMask" / name, left)
        save(root / "MontgomerySet" / "ManualMask" / "rightMask" / name, right)


def shenzhen(root: Path) -> None:
    for index in range(5):
        name, mask = f"CHNCXR_{index:04}_{index % 2}", disk(index)
        image = colors(index, mask)
        save(root / "ChinaSet_AllFiles" / "CXR_png" / f"{name}.png", image if index else image[..., 0])
        if index < 4:
            save(root / "mask" / f"{name}_mask.png", gray(mask))


def chestxray8(root: Path) -> None:
    for index in range(3):
        image = colors(index, disk(index))[..., 0]
        rgba = np.dstack([image, image, image, np.full_like(image, 255)])
        save(root / "images_001" / "images" / f"{index // 2 + 1:08}_{index % 2:03}.png", image if index else rgba)


def jsrt(root: Path, numbers: Sequence[str] = ("JPCLN001", "JPCLN003", "JPCNN005", "JPCNN002")) -> None:
    from paucis.datasets.readers.chest import STRUCTURES

    for index, name in enumerate(numbers):
        left = np.zeros((1024, 1024), bool)
        left[300:700, 550:800] = True
        raw = np.where(np.kron(left, np.ones((2, 2), bool)), 3000, 500).astype(">u2")
        raw[: 100 * index] = 1500
        (root / "All247images").mkdir(exist_ok=True)
        raw.tofile(root / "All247images" / f"{name}.IMG")
        for structure in STRUCTURES:
            mask = np.roll(left, {"left lung": 0, "heart": -80}.get(structure, -300), 1)
            if "clavicle" in structure:
                mask = np.roll(
                    np.where(np.arange(1024)[:, None] < 350, left, False), 0 if "left" in structure else -300, 1
                )
            folder = root / "scratch" / f"fold{1 if int(name[-3:]) % 2 else 2}" / "masks" / structure
            save(folder / f"{name}.gif", gray(mask))


def siim(root: Path) -> None:
    rows = ["ImageId, EncodedPixels"]
    for index in range(4):
        mask = disk(index)
        values = colors(index, mask)[..., 0]
        folder = root / "siim" / "dicom-images-train" / f"1.2.{index}" / f"1.3.{index}"
        radiograph(folder / f"1.4.{index}.dcm", values)
        rows += [f"1.4.{index}, {runs(part)}" for part in (mask & halves(0), mask & halves(1))]
    radiograph(root / "siim" / "dicom-images-train" / "1.2.9" / "1.3.9" / "1.4.9.dcm", values)
    (root / "siim" / "train-rle.csv").write_text("\n".join([*rows, "1.4.9, -1"]) + "\n")


def halves(part: int) -> np.ndarray:
    return (np.arange(SIDE)[None] >= SIDE // 2) == bool(part)


def runs(mask: np.ndarray) -> str:
    """Relative runs down the columns, counted pixel by pixel."""
    numbers, last = [], 0
    flat = mask.T.ravel()
    place = 0
    while place < flat.size:
        if flat[place]:
            end = place
            while end < flat.size and flat[end]:
                end += 1
            numbers += [place - last, end - place]
            place = last = end
        else:
            place += 1
    return " ".join(map(str, numbers))


def digestpath(root: Path) -> None:
    for index in range(10):  # two of each patient
        mask, name = disk(index), f"18-{index // 2:05}A_2018-05-10 10_00_0{index}-lv1-100-200-300-400"
        save(root / "tissue-train-pos-v1" / f"{name}.jpg", colors(index, mask))
        save(root / "tissue-train-pos-v1" / f"{name}_mask.jpg", gray(mask), quality=60)
    save(root / "tissue-train-neg" / "18-99999A_x.jpg", colors(99, mask))


def kaggle_dr(root: Path) -> None:
    for patient in (10, 13):
        for eye in ("left", "right"):
            save(
                root / "train" / f"{patient}_{eye}.jpeg",
                colors(2 * patient + (eye == "left"), disk(patient), field=True),
            )


def chase(root: Path, subjects: Sequence[int] = (1, 2, 3, 11)) -> None:
    for subject in subjects:
        for eye in "LR":
            name, mask = f"Image_{subject:02}{eye}", disk(subject)
            save(root / f"{name}.jpg", colors(2 * subject + (eye == "L"), mask, field=True))
            save(root / f"{name}_1stHO.png", mask)
            save(root / f"{name}_2ndHO.png", disk(subject + 1))


def hrf(root: Path) -> None:
    names = (("01_dr", "JPG"), ("01_g", "jpg"), ("02_h", "jpg"), ("09_dr", "JPG"), ("09_h", "jpg"))
    for index, (name, ending) in enumerate(names):
        mask = disk(index)
        save(root / "images" / f"{name}.jpg", colors(index, mask, field=True))
        (root / "images" / f"{name}.jpg").rename(root / "images" / f"{name}.{ending}")
        save(root / "manual1" / f"{name}.tif", gray(mask))
        save(root / "mask" / f"{name}_mask.tif", np.dstack([gray(disk(1, radius=0.45))] * 3))


def drive(root: Path, vessels: str = "1st_manual") -> None:
    for number, part in ((21, "training"), (22, "training"), (23, "training"), (1, "test")):
        mask = disk(number)
        save(root / part / "images" / f"{number:02}_{part}.tif", colors(number, mask, field=True))
        target = f"{number:02}_manual1.gif" if vessels == "1st_manual" else f"{number:02}_{part}.png"
        save(root / part / vessels / target, gray(mask))
        if vessels != "1st_manual":
            save(root / part / "av" / target, colors(number, mask))
        save(root / part / "mask" / f"{number:02}_{part}_mask.gif", gray(disk(1, radius=0.45)))


def stare(root: Path) -> None:
    for name in ("im0001", "im0002", "im0044", "im0162"):
        mask = disk(int(name[2:]))
        save(root / "stare-images" / f"{name}.ppm", colors(int(name[2:]), mask, field=True))
        packed = root / "stare-images" / f"{name}.ppm"
        if name == "im0002":
            packed.with_name(f"{name}.ppm.gz").write_bytes(gzip.compress(packed.read_bytes()))
            packed.unlink()
        save(root / "labels-ah" / f"{name}.ah.ppm", gray(mask))
    save(root / "stare-images" / "im0300.ppm", colors(1, mask, field=True))


def drishti(root: Path) -> None:
    for number, part, truth in (
        (2, "Training", "GT"),
        (4, "Training", "GT"),
        (8, "Training", "GT"),
        (1, "Test", "Test_GT"),
    ):
        name, disc = f"drishtiGS_{number:03}", disk(number, radius=0.3)
        save(root / "Drishti-GS1_files" / part / "Images" / f"{name}.png", colors(number, disc, field=True))
        maps = root / "Drishti-GS1_files" / part / truth / name / "SoftMap"
        soft = gray(disc)
        soft[disk(number, radius=0.35) & ~disc] = 64  # one of four observers
        save(maps / f"{name}_ODsegSoftmap.png", soft)
        save(maps / f"{name}_cupsegSoftmap.png", gray(disk(number, radius=0.15)))


def idrid(root: Path) -> None:
    top = root / "A. Segmentation"
    for number in (1, 2, 3, 55):
        part = "a. Training Set" if number <= 54 else "b. Testing Set"
        name, mask = f"IDRiD_{number:02}", disk(number)
        save(top / "1. Original Images" / part / f"{name}.jpg", colors(number, mask, field=True))
        truth = top / "2. All Segmentation Groundtruths" / part
        save(truth / "5. Optic Disc" / f"{name}_OD.tif", mask)
        if number != 2:
            save(truth / "3. Hard Exudates" / f"{name}_EX.tif", mask)


def shapes(root: Path) -> None:
    for index in range(3):
        save(root / "OCTA_vessel_mask" / f"{index}_png_Label.png", gray(disk(index)))
        save(root / "DSA_mask" / f"{index + 1}_jpg_Label.png", gray(disk(index, (32, 32))))


MINIATURES: dict[str, Callable[[Path], None]] = {
    "msd": lambda root: msd(root, "spleen_"),
    "msd-brain": lambda root: msd(root, "BRATS_", channels=4, classes=("edema", "core")),
    "msd-heart": lambda root: msd(root, "la_"),
    "msd-hippocampus": lambda root: msd(root, "hippocampus_", classes=("Anterior", "Posterior")),
    "msd-prostate": lambda root: msd(root, "prostate_", channels=2, classes=("PZ", "TZ")),
    "msd-pancreas": lambda root: msd(root, "pancreas_", classes=("pancreas", "cancer")),
    "msd-colon": lambda root: msd(root, "colon_"),
    "acdc": acdc,
    "acdc-h5": acdc_h5,
    "la": atrium,
    "la-h5": atrium_h5,
    "pancreas-ct": pancreas,
    "pancreas-h5": pancreas_h5,
    "brats2019": brats,
    "isic2016": lambda root: isic(root, "ISBI2016_ISIC_Part1", ["Training", "Test"], "Segmentation"),
    "isic2017": lambda root: isic(root, "ISIC-2017", ["Training", "Validation", "Test_v2"]),
    "isic2018": lambda root: isic(root, "ISIC2018_Task1", ["Training"]),
    "ph2": ph2_with_isic,
    "ph2-alone": ph2,
    "montgomery": montgomery,
    "shenzhen": shenzhen,
    "chestxray8": chestxray8,
    "jsrt": jsrt,
    "siim-acr": siim,
    "digestpath": digestpath,
    "kaggle-dr": kaggle_dr,
    "chase-db1": chase,
    "hrf": hrf,
    "drive": drive,
    "rite": lambda root: drive(root, "vessel"),
    "stare": stare,
    "drishti-gs": drishti,
    "idrid": idrid,
    "vessel-shapes": shapes,
}
