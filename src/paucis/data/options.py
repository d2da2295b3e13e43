"""What a user can say about the data (``data.*``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from paucis.data.processes import cores
from paucis.options import option

NONE, AUTO, MASKS = "none", "auto", "masks"
NORMALIZATIONS = ("auto", "zscore", "ct", "dataset", "unit", "local", "none")


@dataclass(frozen=True)
class DataOptions:
    """Who is in which role, what the planned grid looks like, and how cases are stored (``data.*``)."""

    group: str | None = option(
        None, "regular expression that finds the patient in a case's name (its first group, else the whole match)"
    )
    series: str | None = option(
        None, "of DICOM, the series that are cases: as `paucis check` lists them, or modality=, description=, largest"
    )
    order: str = option(
        "list",
        "which labeled cases are taken first: the dataset's list, or drawn by the run's seed",
        choices=("list", "seed"),
    )
    unlabeled: int | None = option(
        None, "how many unlabeled training cases are used, the first of the dataset's list; none = all", minimum=0
    )
    split: str | None = option(
        None, "JSON file with train, val and test lists of case names, or the split (or folder) of another run"
    )
    validation: float = option(
        0.2, "share of the labeled groups held out for validation where no split is given", minimum=0.0, maximum=0.9
    )
    test: float = option(
        0.0, "share of the labeled groups held out for testing where no split is given", minimum=0.0, maximum=0.9
    )
    folds: int = option(0, "number of cross-validation folds in place of one held-out part; 0 = off", minimum=0)
    fold: int = option(0, "which fold validates, from 0", minimum=0)
    split_seed: int = option(0, "seed of what is held out; the same for every training seed", minimum=0)
    size: tuple[int, ...] | None = option(
        None,
        "Y,X of the grid every picture or slice is brought to (2D plans); none = median size, or spacing",
        minimum=8,
    )
    spacing: tuple[float, ...] | None = option(
        None,
        "mm per voxel of the planned grid (Z,Y,X in 3D, Y,X in 2D); none = median of the training cases",
        minimum=1e-6,
    )
    dims: str = option("auto", "plan in 2D slices or 3D crops; auto = by the spacing", choices=("auto", "2", "3"))
    patch: tuple[int, ...] | None = option(
        None,
        "size of a training crop in voxels of the planned grid; none = by the median case and the memory",
        minimum=2,
    )
    normalization: str = option(
        "auto",
        "intensities: zscore per case, ct (clipped, by dataset), dataset (mean and deviation of all), unit (0 to 1 per "
        "case), local (by each voxel's neighborhood), none; auto = by modality",
        choices=NORMALIZATIONS,
    )
    reach: float = option(
        12.0, "width of the neighborhood of normalization=local, in voxels of the planned grid", minimum=0.5
    )
    foreground: float = option(
        0.33, "share of labeled crops that are sure to hold a voxel of a class", minimum=0.0, maximum=1.0
    )
    field: str | None = option(
        None,
        "field of view, outside of which nothing is learnt or found: auto (any channel above 20 of 255, for fundus), "
        "or a folder of masks named like the scans; none = the whole image",
    )
    shapes: str | None = option(
        None, "folder of reference masks, for a method that learns from shapes (`paucis discover --shapes`)"
    )
    shape_rotation: float = option(180.0, "reference masks: largest rotation in degrees", minimum=0.0, maximum=180.0)
    shape_crop: float = option(
        0.1, "reference masks: largest share that is cut off at each side", minimum=0.0, maximum=0.45
    )
    shape_threshold: float = option(
        0.1,
        "reference masks: share of a voxel from which on it is foreground; small ones thicken",
        minimum=0.0,
        maximum=0.99,
    )
    flips: str = option(
        "auto", "axes that may be mirrored; auto = not where class names are sides", choices=("auto", "none", "all")
    )
    workers: int | None = option(None, "processes that prepare cases; none = as the machine allows", minimum=0)
    cache: str | None = option(None, "folder of prepared cases; none = paucis in the user's cache folder")


def field_kind(asked: str | None) -> str:
    """Which kind of field of view a value of ``data.field`` means: ``none``, ``auto`` or ``masks``."""
    return NONE if asked is None else asked if asked in (NONE, AUTO) else MASKS


def cache_home(options: DataOptions) -> Path:
    """The folder that prepared cases lie in: ``data.cache``, else ``paucis`` in the XDG cache folder."""
    if options.cache is not None:
        return Path(options.cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "paucis"


def prepare_workers(options: DataOptions) -> int:
    """Processes that prepare cases: ``data.workers``, else one per usable core, at most 8; 0 on a single core."""
    if options.workers is not None:
        return options.workers
    return min(cores(), 8) if cores() > 1 else 0
