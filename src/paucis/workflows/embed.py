"""Embed: a picture of what a run makes of pixels, by their class, correctness and uncertainty; or of its regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.batch import IGNORE
from paucis.data.case import Case
from paucis.data.formats import read_image, read_label
from paucis.data.layouts import recognize
from paucis.data.layouts import scans as find_scans
from paucis.data.layouts.manifest import SUFFIXES
from paucis.data.preparation import prepare, prepare_label
from paucis.engine.runs import Run, open_run
from paucis.errors import PaucisError
from paucis.evaluation.features.embedding import Points, draw, joined, project, write_points
from paucis.evaluation.features.regions import draw_regions, place, used, write_regions
from paucis.inference.embedding import embed_voxels
from paucis.inference.options import PredictOptions
from paucis.inference.windows import check_channels, method_slabs
from paucis.uncertainty.entropy import entropy
from paucis.workflows.embed_regions import clusters, find_regions

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""

ROLES = ("val", "test", "labeled", "unlabeled")


@dataclass(frozen=True)
class Embedded:
    """What was drawn, and where it lies.

    Attributes:
        picture: the PNG.
        table: the points as CSV.
        points: how many of each class, by name; of a run with clusters in place of classes, of each of these.
        cases: how many scans they come from.
        referenced: whether classes are those of references; else they are the predicted ones.
        regions: whether points are regions of images instead of pixels.
    """

    picture: Path
    table: Path
    points: dict[str, int]
    cases: int
    referenced: bool
    regions: bool = False


def embed(
    run: str | Path,
    images: str | Path,
    *,
    out: str | Path,
    per_class: int = 300,
    seed: int = 0,
    role: str | None = None,
    device: str = "auto",
    weights: str | None = None,
    progress: Progress | None = None,
) -> Embedded:
    """Draws pixel features of a run in two dimensions (t-SNE), and writes the points beside the picture.

    From all scans together, ``per_class`` voxels of each class are drawn at random on the planned grid. Where some
    scans have a label, those alone are used. A pretraining with a clustering (``ld``) has no classes: its points are
    the regions of ``per_class`` images at most, one of each cluster in each, and the prototypes of the clusters.

    Args:
        run: run folder.
        images: a dataset, a folder of scans, or a scan.
        out: the picture, ``.png``; the points get the same name with ``.csv``.
        per_class: voxels of each class, or regions of each cluster.
        seed: of the choice of voxels and of the projection.
        role: ``val``, ``test``, ``labeled`` or ``unlabeled``: only the cases that the run's split gives this role.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights: ``best`` or ``last``; None takes the best where validation chose one.
        progress: told before the first case and after each.

    Raises:
        PaucisError: no scans, not a run folder, too few pixels, a picture that is no PNG or cannot be written.
    """
    picture = Path(out)
    if picture.suffix.lower() != ".png" or picture.is_dir():
        raise PaucisError(f"{picture}: the picture must be a .png file: choose another --out")
    if per_class < 1:
        raise PaucisError(f"--per-class={per_class} must be 1 or more")
    opened = open_run(run, device, weights)
    cases, tell = _cases(opened, Path(images), role), progress or (lambda done, total: None)
    rng = np.random.default_rng(seed)
    if clusters(opened):
        return _regions(opened, cases, picture, per_class, seed, tell)
    kept: list[Points] = []
    keys = np.zeros(0)
    tell(0, len(cases))
    for number, case in enumerate(cases, 1):
        found = _points(opened, case, per_class, rng)
        if found is not None:
            both, both_keys = joined([*kept, found]), np.concatenate([keys, rng.random(len(found.labels))])
            chosen = _lowest(both.labels, both_keys, per_class)
            kept, keys = [_of(both, chosen)], both_keys[chosen]
        tell(number, len(cases))
    if not kept:
        raise PaucisError(f"{images}: no voxel of its labels is of a known class")
    points = kept[0]
    placed = project(points.features, seed=seed)
    table = picture.with_suffix(".csv")
    write_points(table, points, placed)
    draw(picture, points, placed, f"{opened.config.method}, {len(points.labels)} pixels of {len(cases)} scans")
    counts = {name: int((points.labels == label).sum()) for label, name in enumerate(points.classes)}
    return Embedded(picture, table, counts, len(cases), points.referenced)


def _regions(run: Run, cases: list[Case], picture: Path, per_cluster: int, seed: int, tell: Progress) -> Embedded:
    rng = np.random.default_rng(seed)
    some = [cases[index] for index in _some(np.arange(len(cases)), per_cluster, rng)]
    regions = find_regions(run, some, rng, tell)
    placed, prototypes = place(regions, seed=seed)
    table = picture.with_suffix(".csv")
    write_regions(table, regions, placed, prototypes)
    title = f"{run.config.method}, regions of {len(some)} scans; stars: prototypes"
    draw_regions(picture, regions, placed, prototypes, title)
    counts = {f"cluster {cluster}": int((regions.clusters == cluster).sum()) for cluster in used(regions)}
    return Embedded(picture, table, counts, len(some), False, regions=True)


def _cases(run: Run, images: Path, role: str | None) -> list[Case]:
    if role is not None and role not in ROLES:
        raise PaucisError(f"--role {role}: must be one of {', '.join(ROLES)}")
    if images.is_file() and images.suffix.lower() not in SUFFIXES:
        cases = find_scans(images, run.task.channels)
    else:
        cases = list(recognize(images).cases)
    if role is not None:
        names = set(getattr(run.folder.split(), role))
        cases = [case for case in cases if case.name in names]
        if not cases:
            raise PaucisError(f"{images}: holds no case that the split of {run.folder.path} gives the role '{role}'")
    return [case for case in cases if case.label is not None] or cases


def _points(run: Run, case: Case, per_class: int, rng: np.random.Generator) -> Points | None:
    """Voxels of each class of a case, at random, with their features; None where nothing of it is known."""
    try:
        volume = read_image(case.images)
        check_channels(volume.array, run.task)
        image, trace = prepare(volume, run.plan)
        predicted, uncertainty = _predicted(run, image)
        labels = predicted if case.label is None else prepare_label(read_label(case.label), run.plan, trace)
    except PaucisError as error:
        raise PaucisError(f"{case.name}: {error}") from error
    flat = np.concatenate(
        [_some(np.flatnonzero(labels == label), per_class, rng) for label in range(run.task.classes)]
    ).astype(np.int64)
    if len(flat) == 0:
        return None
    voxels = np.stack(np.unravel_index(flat, labels.shape), 1)
    features = embed_voxels(image, voxels, run.method, run.task, autocast=run.autocast, device=run.device)
    return Points(
        (case.name,) * len(flat),
        voxels,
        labels.ravel()[flat],
        predicted.ravel()[flat],
        uncertainty.ravel()[flat],
        features,
        tuple(run.plan.classes),
        case.label is not None,
    )


def _predicted(run: Run, image: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Predicted class and normalized entropy of every voxel (Z, Y, X) of the planned grid."""
    shape = image.shape[1:]
    predicted, uncertainty = np.full(shape, IGNORE, np.uint8), np.zeros(shape, np.float32)
    options = PredictOptions(maps=())
    for slab in method_slabs(image, run.method, run.task, options, autocast=run.autocast, device=run.device):
        probabilities = slab.maps["probabilities"]
        predicted[slab.start : slab.stop] = probabilities.argmax(0).byte().cpu().numpy()
        spread = entropy(probabilities[None], normalized=True)[0].clamp(0, 1)
        uncertainty[slab.start : slab.stop] = spread.cpu().numpy()
    return predicted, uncertainty


def _some(places: NDArray[np.intp], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return places if len(places) <= count else rng.choice(places, count, replace=False)


def _lowest(labels: NDArray[Any], keys: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The ``count`` points of the lowest keys of each class: a random choice whatever the number of cases."""
    chosen: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        chosen.append(mine[np.argsort(keys[mine])[:count]])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.intp)


def _of(points: Points, chosen: Sequence[int] | NDArray[np.intp]) -> Points:
    """The chosen ones of the points."""
    cases = tuple(points.cases[number] for number in chosen)
    arrays = {
        name: getattr(points, name)[chosen] for name in ("voxels", "labels", "predicted", "uncertainty", "features")
    }
    return Points(cases=cases, classes=points.classes, referenced=points.referenced, **arrays)
