"""Compare: several sets of results, case by case, with tests, differences and masks side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from paucis.errors import PaucisError
from paucis.evaluation.comparison.pictures import Compared, draw_differences, draw_side_by_side, telling_cases
from paucis.evaluation.comparison.rows import BEST, Aligned, Results, align, check_metrics, read_results, together
from paucis.evaluation.comparison.tables import Line, lines_of, notes_of, write_comparison
from paucis.evaluation.masks.finding import Masks, Pair, find_labels, find_predictions, match
from paucis.evaluation.masks.reading import Scheme, agree, read_pair, values_of_file
from paucis.evaluation.masks.values import UNKNOWN
from paucis.evaluation.pictures.slices import Panel
from paucis.evaluation.tables import number
from paucis.registry import nearest
from paucis.workflows.evaluate import Pictures, evaluate

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, of all)."""

METRICS = ("dice", "surface_dice", "hd95")
"""Compared where nothing else is asked for."""


class Source(NamedTuple):
    """One set of results: its name, its table of cases, and its folder of masks where there is one."""

    name: str
    table: Path
    masks: Path | None


@dataclass(frozen=True)
class Compare:
    """What was found, and where it lies.

    Attributes:
        out: folder with ``comparison.csv``, ``.json``, ``.md``, ``differences.csv`` and ``differences.png``.
        reference: name of the set that the others are compared with.
        lines: every set against it, by metric and class.
        unit: of lengths.
        masks: picture of masks side by side; None where masks or labels are not known.
        notes: what a reader has to know.
    """

    out: Path
    reference: str
    lines: list[Line]
    unit: str
    masks: Path | None
    notes: tuple[str, ...]


def compare(
    sources: Sequence[str | Path],
    *,
    out: str | Path,
    labels: str | Path | None = None,
    names: Sequence[str] = (),
    reference: str | None = None,
    metrics: Sequence[str] = (),
    cases: Sequence[str] = (),
    tie: float = 0.0,
    partial: bool = False,
    role: str | None = None,
    convention: str = "strict",
    device: str = "auto",
    progress: Progress | None = None,
) -> Compare:
    """Compares sets of results over the same cases.

    Args:
        sources: tables that ``evaluate`` wrote, folders that ``predict`` wrote, folders of masks, or run folders.
            Folders of masks that were evaluated are taken with that evaluation, unless ``labels`` are given; runs first
            predict the cases of ``role``.
        out: folder for the results.
        labels: dataset or folder of reference masks; needed for masks not evaluated yet, for runs, and for pictures.
        names: of the sets; by default those of their folders.
        reference: name of the set that the others are compared with; the first by default.
        metrics: to compare; ``METRICS`` by default.
        cases: to show side by side; by default the largest loss, the median difference and the largest gain.
        tie: largest difference that counts as a tie.
        partial: allow cases that only some sets have.
        role: of runs, the part of their split to predict; ``test`` by default, ``val`` where that is empty.
        convention: that masks are evaluated by.
        device: that runs predict on.
        progress: told how far the work is.

    Raises:
        PaucisError: fewer than two sets, sets that cannot be compared, or results that cannot be written.
    """
    metrics = tuple(metrics) or METRICS
    check_metrics(metrics)
    if not 0 <= tie < float("inf"):
        raise PaucisError(f"--tie {tie}: must be 0 or more")
    paths = [Path(source) for source in sources]
    for path in paths:
        if not path.exists():
            raise PaucisError(f"{path}: no such file or folder: check the path")
    if len(paths) < 2:
        raise PaucisError("give two sets of results or more, the reference first")
    called = set_names(paths, names)
    first = _index(reference, called)
    folder, tell = Path(out), progress or (lambda what, done, total: None)
    if folder.exists() and not folder.is_dir():
        raise PaucisError(f"{folder}: is a file; --out needs a folder")
    given = Path(labels) if labels is not None else None
    found = [
        _source(path, name, folder / "sets" / name, given, role, convention, device, partial, tell)
        for path, name in zip(paths, called, strict=True)
    ]
    sets = [read_results(source.name, source.table, metrics) for source in found]
    shared, lone = together(sets, partial)
    for name in cases:
        if name not in shared:
            raise PaucisError(f"--case {name}: is not among the compared cases{nearest(name, shared)}")
    aligned = {metric: align(sets, shared, metric) for metric in metrics}
    lines = [line for metric, one in aligned.items() for line in lines_of(metric, one, called, first, tie)]
    unit = sets[0].unit
    write_comparison(folder, lines, aligned, called, first, unit)
    draw_differences(folder / "differences.png", aligned, lines, called, first, unit)
    notes = notes_of(lines)
    if lone:
        notes.append(f"Left out, for not all sets have them: {len(lone)} cases, {lone[0]} the first.")
    masks = _side_by_side(folder / "masks.png", found, sets, aligned, metrics[0], first, given, cases, notes)
    return Compare(folder, called[first], lines, unit, masks, tuple(notes))


def set_names(paths: Sequence[Path], given: Sequence[str]) -> list[str]:
    """What sets of results, or runs, are called: as given, else by their folders, with the one above where it helps.

    Raises:
        PaucisError: not a name for each, or two of one name.
    """
    if given and len(given) != len(paths):
        raise PaucisError(f"--name was given {len(given)} times for {len(paths)} sets: name all, or none")
    names = [name.replace("/", "_") for name in given] or [_plain_name(path) for path in paths]
    if len(set(names)) < len(names) and not given:
        names = [f"{_home(path).resolve().parent.name}_{name}" for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PaucisError(f"two sets would be called '{twice}': tell them apart with --name, once for each")
    return names


def _home(path: Path) -> Path:
    """The folder that gives a set its name: an evaluation belongs to what it lies in."""
    if path.name == "cases.csv":
        path = path.parent
    return path.parent if path.name == "evaluation" else path


def _plain_name(path: Path) -> str:
    home = _home(path).resolve()
    return home.stem if home.suffix == ".csv" else home.name


def _index(reference: str | None, names: Sequence[str]) -> int:
    if reference is None:
        return 0
    if reference not in names:
        raise PaucisError(
            f"--reference {reference}: must be one of {', '.join(names)}{nearest(reference, list(names))}"
        )
    return names.index(reference)


def _source(
    path: Path,
    name: str,
    place: Path,
    labels: Path | None,
    role: str | None,
    convention: str,
    device: str,
    partial: bool,
    tell: Progress,
) -> Source:
    """The table and the masks of a set; what is not there yet is predicted and evaluated into ``place``."""
    if path.is_file():
        home = _home(path)
        return Source(name, path, home if path.parent.name == "evaluation" and home.is_dir() else None)
    if (path / "config.json").is_file() and (path / "plan.json").is_file():
        if labels is None:
            raise PaucisError(f"{path} is a run: tell which dataset to predict and compare on (--labels DATASET)")
        _predict(path, labels, place, role, device, lambda done, total: tell(f"{name}: predicting", done, total))
        path, partial = place, True  # only the cases of a role were predicted
    elif labels is None:
        table = path / "cases.csv" if _evaluated(path / "cases.csv") else path / "evaluation" / "cases.csv"
        if not table.is_file():
            raise PaucisError(f"{path} was not evaluated: run `paucis evaluate` on it, or give --labels DATASET")
        return Source(name, table, _home(path))
    evaluate(
        path,
        labels,
        out=place / "evaluation",
        convention=convention,
        partial=partial,
        progress=lambda done, total, _: tell(f"{name}: evaluating", done, total),
    )
    return Source(name, place / "evaluation" / "cases.csv", path)


def _predict(
    run: Path, dataset: Path, place: Path, role: str | None, device: str, tell: Callable[[int, int], None]
) -> None:
    from paucis.engine.runs import RunFolder  # torch is loaded for runs alone: tables and masks do without
    from paucis.workflows.predict import predict

    role = role or ("test" if RunFolder(run).split().test else "val")
    predict(run, dataset, out=place, role=role, device=device, progress=tell)


def _evaluated(table: Path) -> bool:
    """Whether a table is one of ``evaluate``, not the one that ``predict`` leaves under the same name."""
    try:
        with table.open(encoding="utf-8-sig") as file:
            return "state" in file.readline().strip().split(",")
    except (OSError, UnicodeDecodeError):
        return False


class _Masks(NamedTuple):
    """The masks of a set, paired with labels."""

    pairs: dict[str, Pair]
    scheme: Scheme
    pictures: Pictures


def _side_by_side(
    path: Path,
    sources: Sequence[Source],
    sets: Sequence[Results],
    aligned: dict[str, Aligned],
    metric: str,
    reference: int,
    labels: Path | None,
    wanted: Sequence[str],
    notes: list[str],
) -> Path | None:
    """The picture, or None and a note where masks or labels are not known."""
    without = [source.name for source in sources if source.masks is None]
    if labels is None or without:
        missing = "--labels DATASET" if labels is None else f"the masks of {', '.join(without)}, of which only a table"
        notes.append(f"No masks side by side: {missing} {'was not' if labels is None else 'was'} given.")
        with suppress(OSError):
            path.unlink()  # of an earlier comparison
        return None
    labeled = find_labels(labels)
    found = [_masks(source, labeled) for source in sources]
    one = aligned[metric]
    figures = [one.per_case(index) for index in range(len(sets))]
    others = [figure for index, figure in enumerate(figures) if index != reference]
    mean = {case: sum(figure[case] for figure in others) / len(others) for case in one.cases}
    shown = [("case", case) for case in wanted] or telling_cases(mean, figures[reference], BEST[metric] == 1)
    drawn = [_compared(what, case, sources, found, figures, metric) for what, case in shown]
    if drawn:
        draw_side_by_side(path, drawn)
    return path if drawn else None


def _masks(source: Source, labeled: Masks) -> _Masks:
    assert source.masks is not None
    predicted = find_predictions(source.masks)
    pairs, _, _ = match(predicted, labeled)
    scheme = agree(predicted, labeled, pairs, None, lambda paths: {file: values_of_file(file) for file in paths})
    return _Masks({pair.name: pair for pair in pairs}, scheme, Pictures({}, predicted, labeled))


def _compared(
    what: str,
    case: str,
    sources: Sequence[Source],
    found: Sequence[_Masks],
    figures: Sequence[dict[str, float]],
    metric: str,
) -> Compared:
    image: NDArray[Any] | None = None
    columns = []
    for source, masks, figure in zip(sources, found, figures, strict=True):
        if case not in masks.pairs:
            raise PaucisError(
                f"{source.masks} has no mask and label of case {case}: give the labels it was evaluated on"
            )
        pair = masks.pairs[case]
        read = read_pair(pair, masks.scheme)
        image = image if image is not None else masks.pictures.image(pair)
        panel = Panel("", read.prediction, read.reference, read.geometry, image, ignore=UNKNOWN)
        columns.append((source.name, f"{metric} {number(figure[case])}", panel))
    return Compared(f"{what}: {case}", columns)
