"""The case gallery: which cases, and their slices as small pictures in layers, within a limit of bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.data.formats import read_image, read_map
from paucis.errors import PaucisError
from paucis.evaluation.masks.finding import Masks, Pair, find_labels, find_predictions, match
from paucis.evaluation.masks.maps import find_maps
from paucis.evaluation.masks.reading import CasePair, Scheme, agree, read_pair, values_of_file
from paucis.evaluation.masks.values import UNKNOWN
from paucis.evaluation.pictures.layers import Size, fill, glow, outline, photograph, size_of
from paucis.evaluation.pictures.stacks import Stack, stack_of
from paucis.evaluation.summary import mean_dice
from paucis.evaluation.tables import number
from paucis.workflows.report.results import Results
from paucis.workflows.report.subject import Subject

_JSON = 80  # bytes of a picture's place in the page beside the picture itself


@dataclass(frozen=True)
class Shown:
    """A case of the gallery, ready for the page.

    Attributes:
        name: of the case.
        title: its rank.
        runs: for each run, its figures in words.
        size: rows and columns of its pictures.
        count: slices of the scan.
        numbers: which of them are shown, counted from 1.
        first: index of the one to begin with.
        layers: pictures of each slice as base64, by layer: ``image``, ``reference``, ``mask0``, ``doubt0``, ``mask1``
            ...; layers that are not there are left out.
    """

    name: str
    title: str
    runs: list[str]
    size: Size
    count: int
    numbers: list[int]
    first: int
    layers: dict[str, list[str]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of the pictures in the page."""
        return sum(len(picture) + _JSON for pictures in self.layers.values() for picture in pictures)

    def thinned(self, kept: Sequence[int]) -> Shown:
        """The same with the slices of these indices; the one to begin with is among them."""
        layers = {name: [pictures[index] for index in kept] for name, pictures in self.layers.items()}
        numbers = [self.numbers[index] for index in kept]
        return Shown(
            self.name, self.title, self.runs, self.size, self.count, numbers, list(kept).index(self.first), layers
        )


class _Set(NamedTuple):
    """The masks of a run, paired with labels."""

    subject: Subject
    results: Results
    pairs: dict[str, Pair]
    scheme: Scheme
    predicted: Masks
    labeled: Masks
    maps: dict[str, dict[str, Any]]


def choose_cases(runs: Sequence[Results], shared: Sequence[str], most: int) -> list[tuple[str, str]]:
    """So many cases from the worst to the best by mean Dice over runs, evenly by rank, as (name, what it is).

    Args:
        runs: whose figures count.
        shared: cases that all of them have.
        most: cases.
    """
    figures = [mean_dice(one.evaluation.rows) for one in runs]
    scores = {
        name: float(np.mean([one[name] for one in figures])) for name in shared if all(name in f for f in figures)
    }
    order = sorted(scores, key=lambda name: (scores[name], name))
    if not order or most < 1:
        return []
    ranks = sorted({round(rank) for rank in np.linspace(0, len(order) - 1, min(most, len(order)))})
    names = {0: "worst", len(order) - 1: "best", (len(order) - 1) // 2: "median"} if len(order) > 2 else {}
    return [(order[rank], names.get(rank, f"rank {rank + 1} of {len(order)}")) for rank in ranks]


def build_gallery(
    subjects: Sequence[Subject],
    results: Sequence[Results],
    cases: Sequence[tuple[str, str]],
    slices: int,
    limit: int,
    progress: Callable[[int, int], None],
) -> list[Shown]:
    """The cases as pictures; each gets its share of ``limit`` bytes and as many of its slices as fit into it.

    Cases of which not even one slice fits are left out.

    Args:
        subjects: the runs.
        results: theirs.
        cases: names and titles.
        slices: at most so many of each case.
        limit: of all pictures, in bytes of the page.
        progress: told after every case.

    Raises:
        PaucisError: an image, mask or map cannot be read.
    """
    sets = [_set(*both) for both in zip(subjects, results, strict=True)]
    shown: list[Shown] = []
    left = limit
    for index, (name, title) in enumerate(cases):
        share = left // (len(cases) - index)
        one = _fitting(_case(name, title, sets, slices), share)
        if one is not None:
            shown.append(one)
            left -= one.bytes
        progress(index + 1, len(cases))
    return shown


def _fitting(one: Shown, share: int) -> Shown | None:
    """The case with as many slices as fit into ``share`` bytes, evenly, the first one to show among them."""
    count = len(one.numbers)
    while one.bytes > share:
        count = min(count - 1, int(len(one.numbers) * share / one.bytes))
        if count < 1:
            return None
        kept = sorted({round(place) for place in np.linspace(0, len(one.numbers) - 1, count)})
        nearest = min(range(len(kept)), key=lambda place: abs(kept[place] - one.first))
        kept[nearest] = one.first
        one = one.thinned(kept)
    return one


def _set(subject: Subject, results: Results) -> _Set:
    predicted = find_predictions(results.predictions)
    labeled = find_labels(subject.dataset.root, subject.config.data.series)
    pairs, _, _ = match(predicted, labeled)
    scheme = agree(predicted, labeled, pairs, None, lambda paths: {file: values_of_file(file) for file in paths})
    maps = find_maps(results.predictions) if (results.predictions / "manifest.json").is_file() else {}
    return _Set(subject, results, {pair.name: pair for pair in pairs}, scheme, predicted, labeled, dict(maps))


def _case(name: str, title: str, sets: Sequence[_Set], slices: int) -> Shown:
    masks = [read_pair(one.pairs[name], one.scheme) for one in sets]
    truth = masks[0].reference
    stack = stack_of([one.prediction for one in masks], truth, masks[0].geometry, slices, UNKNOWN)
    reference = stack.cut(truth)
    size = size_of(reference.shape[1], reference.shape[2], stack.aspect)
    layers = {"image": _photographs(_image(name, sets[0], masks[0]), stack, size)}
    layers["reference"] = [_text(outline(one, size, UNKNOWN)) for one in reference]
    for place, (one, pair) in enumerate(zip(sets, masks, strict=True)):
        layers[f"mask{place}"] = [_text(fill(mask, size)) for mask in stack.cut(pair.prediction)]
        doubt = _doubt(one.maps.get(name, {}), truth.shape)
        if doubt is not None:
            layers[f"doubt{place}"] = [_text(glow(values, size)) for values in stack.cut(doubt)]
    words = [_words(one.results, name) for one in sets]
    layers = {layer: pictures for layer, pictures in layers.items() if pictures}
    return Shown(name, title, words, size, stack.count, list(stack.numbers), stack.first, layers)


def _image(name: str, one: _Set, masks: CasePair) -> NDArray[Any] | None:
    """(C, Z, Y, X): of several files the first; None where there is none of the masks' size."""
    pair = one.pairs[name]
    files = one.predicted.images.get(name) or one.labeled.images.get(pair.labeled_as) or ()
    try:
        array = read_image(files[:1]).array if files else None
    except PaucisError:  # the scan lies elsewhere by now: masks are shown on black
        array = None
    return array if array is not None and array.shape[1:] == masks.reference.shape else None


def _photographs(image: NDArray[Any] | None, stack: Stack, size: Size) -> list[str]:
    """Gray by one window for all slices (between the 0.5th and the 99.5th percentile), or color."""
    if image is None:
        return []
    if image.shape[0] == 3 and image.dtype == np.uint8:
        color = np.moveaxis(stack.cut(image), 0, -1).astype(np.float32) / 255
        return [_text(photograph(one, size)) for one in color]
    gray = np.nan_to_num(stack.cut(image[0]).astype(np.float32))
    low, high = np.percentile(gray, (0.5, 99.5))
    return [_text(photograph((one - low) / max(high - low, 1e-12), size)) for one in gray]


def _doubt(maps: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """The entropy, else 1 - confidence; None where there is neither of the masks' size."""
    for name in ("entropy", "confidence"):
        if name in maps and maps[name].is_file():
            values: NDArray[np.float32] = read_map(maps[name]).array[0].astype(np.float32)
            if values.shape == shape:
                return np.float32(1) - values if name == "confidence" else values
    return None


def _words(results: Results, name: str) -> str:
    found = [f"{row.name} {number(row.scores['dice'])}" for row in results.evaluation.rows if row.case == name]
    return f"Dice: {', '.join(found)}"


def _text(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")
