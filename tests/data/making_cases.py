"""Small scans with a known geometry, written as files, and what paucis knows of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from paucis.data.case import Case, Dataset, Geometry
from paucis.data.facts import CaseFacts, look
from paucis.data.options import DataOptions
from paucis.data.plan import Plan, make_plan

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0)


def scan(folder, name, shape=(12, 14, 16), *, spacing=(1.0, 1.0, 1.0), direction=None, seed=0, label=True, group=""):
    """A NIfTI image of smooth noise, and a mask of two boxes; ``shape`` and ``spacing`` are (Z, Y, X)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(100, 20, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    z, y, x = (size // 2 for size in shape)
    mask[:z, :y, :x] = 1
    mask[z:, y : y + 2, x : x + 3] = 2
    image_path, label_path = folder / f"{name}.nii.gz", folder / f"{name}_mask.nii.gz"
    for path, array in ((image_path, values), (label_path, mask)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing[::-1])
        image.SetOrigin((-11.0, 5.0, 30.0))
        image.SetDirection(direction or tuple(np.eye(3).ravel()))
        if path is image_path or label:
            sitk.WriteImage(image, str(path))
    return Case(name, (image_path,), label_path if label else None, group)


def dataset_of(cases, *, root=Path("scans"), classes=("background", "box", "bar"), channels=("MRI",), split=()):
    return Dataset(root, "test", tuple(cases), channels, classes, tuple(range(len(classes))), split)


def facts_of(cases):
    return {case.name: look(case) for case in cases}


def imagined(name, shape, *, spacing=(1.0, 1.0, 1.0), dims=3, physical=True, channels=1, foreground=None, **figures):
    """What would be known of a scan that nobody wrote."""
    geometry = Geometry(spacing=spacing, physical=physical, dims=dims, direction=figures.pop("direction", EYE))
    one = {"mean": 10.0, "std": 2.0, "min": 0.0, "max": 20.0, "p005": 1.0, "p500": 10.0, "p995": 19.0, **figures}
    return CaseFacts(
        name=name,
        content=f"content-{name}",
        label_content=None,
        shape=shape,
        channels=channels,
        geometry=geometry,
        dtype="int16",
        intensity=(one,) * channels,
        foreground=(foreground,) * channels if foreground else None,
        nonfinite=0,
        label_counts=None,
        label_shape=None,
        label_geometry=None,
    )


EYE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def planned(facts, *, classes=("background", "box"), channels=None, labeled=True, budget=96**3, **options) -> Plan:
    """The plan of imagined scans."""
    label = Path("mask.nii.gz") if labeled else None
    cases = [Case(fact.name, (Path(f"{fact.name}.nii.gz"),), label) for fact in facts]
    names = channels or tuple(f"channel {index}" for index in range(facts[0].channels))
    dataset = dataset_of(cases, classes=classes, channels=names)
    return make_plan(dataset, {fact.name: fact for fact in facts}, DataOptions(**options), budget)
