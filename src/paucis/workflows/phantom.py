"""Writes a made-up dataset in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from paucis.data.case import Geometry
from paucis.data.formats import write_map, write_mask
from paucis.data.phantom import ORGANS, phantom
from paucis.errors import PaucisError
from paucis.files import write_json


def write_phantoms(
    out: Path,
    cases: int,
    labeled: int,
    test: int,
    size: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes ``cases`` training phantoms, the first ``labeled`` with labels, and ``test`` more with theirs apart.

    Args:
        out: folder to write; must be empty or new.
        cases: training cases.
        labeled: of them with a label.
        test: cases in ``imagesTs`` with labels in ``labelsTs``.
        size: voxels along the longest axis.
        seed: of the anatomy.
        progress: told how many are written, of how many.

    Raises:
        PaucisError: the folder is not empty, or more labels than cases are asked for.
    """
    if labeled > cases:
        raise PaucisError(f"--labeled {labeled} is more than --cases {cases}")
    if out.exists() and any(out.iterdir()):
        raise PaucisError(f"{out}: is not empty: choose another folder")
    geometry = Geometry(spacing=(2.5, 1.5, 1.5), origin=(-60.0, -50.0, 0.0))
    shape = (max(8, size * 5 // 8), max(8, size * 7 // 8), size)
    training = []
    for number in range(cases + test):
        image, labels = phantom(shape, seed * 100_003 + number)
        name, folder = f"phantom_{number:03}.nii.gz", "Tr" if number < cases else "Ts"
        write_map(out / f"images{folder}" / name, image.astype(np.float32), geometry)
        if number < labeled or number >= cases:
            write_mask(out / f"labels{folder}" / name, labels, geometry)
        if number < labeled:
            training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        elif number < cases:
            training.append({"image": f"./imagesTr/{name}"})
        if progress:
            progress(number + 1, cases + test)
    description = {
        "name": "phantom",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", **{str(i): organ for i, organ in enumerate(ORGANS, start=1)}},
        "numTraining": cases,
        "training": training,
        "test": [],
    }
    write_json(out / "dataset.json", description)
