"""Review: the cases of a prediction that deserve a second look, with pictures of their doubts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paucis.data.formats import read_label, read_map
from paucis.errors import PaucisError
from paucis.evaluation.masks.finding import Masks, Pair, find_predictions
from paucis.evaluation.masks.maps import UNCERTAINTY, find_maps
from paucis.evaluation.masks.values import to_classes
from paucis.evaluation.reliability.structures import read_structures
from paucis.evaluation.review import Doubt, Ranked, draw_review, rank, title_of, write_review
from paucis.registry import nearest
from paucis.workflows.evaluate import Pictures


@dataclass(frozen=True)
class Review:
    """The order, and where it lies.

    Attributes:
        out: folder with ``review.csv`` and ``review.png``.
        by: what was ranked by.
        ranked: every case, the one to look at first on top.
        picture: of the first of them; None where none was asked for.
    """

    out: Path
    by: str
    ranked: list[Ranked]
    picture: Path | None


def review(
    predictions: str | Path,
    *,
    by: str = "score",
    show: int = 6,
    shown_map: str = "entropy",
    out: str | Path | None = None,
) -> Review:
    """Ranks the cases of a folder that ``predict`` wrote; no reference is looked at.

    Args:
        predictions: the folder.
        by: ``score``, ``confidence``, ``entropy`` or ``interval``.
        show: cases in the picture.
        shown_map: uncertainty map in it: ``entropy``, ``expected_entropy``, ``mutual_information`` or ``confidence``
            (as 1 - confidence).
        out: folder for the results; ``PREDICTIONS/review`` by default.

    Raises:
        PaucisError: not such a folder, an unknown rule or map, or results that cannot be written.
    """
    folder = Path(predictions)
    if shown_map not in UNCERTAINTY:
        raise PaucisError(
            f"--map {shown_map}: must be one of {', '.join(UNCERTAINTY)}{nearest(shown_map, list(UNCERTAINTY))}"
        )
    if show < 0:
        raise PaucisError(f"--show {show}: must be 0 or more")
    if not folder.exists():
        raise PaucisError(f"{folder}: no such folder: check the path")
    ranked = rank(read_structures(folder), by)
    maps, masks = find_maps(folder), find_predictions(folder)
    place = Path(out) if out is not None else folder / "review"
    write_review(place / "review.csv", ranked, by)
    doubts = [_doubt(one, by, masks, maps.get(one.structure.case, {}).get(shown_map)) for one in ranked[:show]]
    if doubts:
        draw_review(place / "review.png", doubts, masks.classes)
    return Review(place, by, ranked, place / "review.png" if doubts else None)


def _doubt(one: Ranked, by: str, masks: Masks, path: Path | None) -> Doubt:
    name = one.structure.case
    if name not in masks.files or not masks.files[name].exists():
        raise PaucisError(f"{masks.root / 'manifest.json'} names no mask of {name} that is there: predict again")
    label = read_label(masks.files[name])
    mask = to_classes(label.array[0], masks.values, masks.files[name])
    image = Pictures({}, masks, masks).image(Pair(name, masks.files[name], masks.files[name], name))
    uncertainty = None
    if path is not None and path.exists():
        uncertainty = read_map(path).array[0].astype(np.float32)
        uncertainty = 1 - uncertainty if path.name.rpartition("_confidence")[1] else uncertainty
    return Doubt(title_of(one, by), mask, image, uncertainty, label.geometry)
