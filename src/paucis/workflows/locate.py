"""Locate: landmarks that are marked in one image or a few, found in all others by the features of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paucis.data.case import Case, Volume
from paucis.data.field import FieldOf
from paucis.data.grid import Point
from paucis.data.layouts import scans as find_scans
from paucis.engine.runs import open_run
from paucis.errors import PaucisError
from paucis.evaluation.landmarks import Peak
from paucis.evaluation.landmarks.sheet import Sheets, tiles_of
from paucis.workflows.attempt import attempt, named
from paucis.workflows.landmark_points import Given, is_called, places_in, read_points, read_table
from paucis.workflows.landmark_rows import Accuracy, Row, accuracies, rows_of, write_accuracy, write_rows
from paucis.workflows.landmark_search import LandmarkSearch, Support
from paucis.workflows.similarity import one_scan
from paucis.workflows.suggestion_figures import Notes

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SHOWN = 3  # scans named in the last message


@dataclass(frozen=True)
class Located:
    """What was found, and where it lies.

    Attributes:
        table: the CSV.
        sheets: pictures of supports and queries with their points.
        accuracy_table: CSV; None without true points.
        rows: a row for each image and landmark.
        accuracy: by landmark, and over ``all`` of several; empty without true points.
        scans: images searched.
        window: pooling size along (Z, Y, X) in voxels of the planned grid.
        unmarked: landmarks that were given in none of the supports, and not looked for.
    """

    table: Path
    sheets: list[Path]
    accuracy_table: Path | None
    rows: list[Row]
    accuracy: dict[str, Accuracy]
    scans: int
    window: tuple[int, int, int]
    unmarked: tuple[str, ...] = ()


def locate(
    run: str | Path,
    queries: str | Path,
    *,
    support: str | Path | Sequence[str | Path],
    points: str | Sequence[str],
    out: str | Path,
    size: Sequence[int] | None = None,
    truth: str | Path | None = None,
    field: str | None = None,
    device: str = "auto",
    weights: str | None = None,
    series: str | None = None,
    progress: Progress | None = None,
) -> Located:
    """Finds landmarks in images, given where they are in one image or a few (Eq. 24-26, 35, 36).

    Every pixel's vector is averaged over a window around it, center-sensitively where the run was pretrained so. The
    pixel most like the support's point is looked for, and the centroid of the pixels around it that are almost as
    alike is the answer. Of several supports, the mean vector is taken. Writes the table ``OUT.csv``, contact sheets
    ``OUT.png``, ``OUT_2.png`` ..., and with ``truth`` ``OUT_accuracy.csv``. What was found is remembered until the
    call is complete: a stopped call goes on.

    Args:
        run: run folder; any run, a pretraining by ``ld`` is made for it.
        queries: a folder of scans, a dataset, or a scan.
        support: the scan that the points are given in, or several.
        points: each ``Y,X`` or ``Z,Y,X`` in voxels as stored, counted from 0, or ``NAME=Y,X``; or a CSV file with the
            columns landmark, y, x, of volumes z, and image, which several supports need.
        out: the table, ``.csv``.
        size: pooling size in voxels of the planned grid, one number or one for each axis; None is a quarter of the
            run's crop.
        truth: CSV file of the true points, likewise, with the column image.
        field: of view, outside of which no point is looked for: ``auto`` (any channel above 20 of 255), ``none``, or a
            folder of masks; None as the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights: ``best`` or ``last``; None takes the best where validation chose one.
        series: of DICOM queries, the series to take.
        progress: told how far it is.

    Raises:
        PaucisError: anything the user can mend, in one line; also, when all others are done, scans that could not be
            looked at.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.
    """
    table, tell = Path(out), progress or (lambda what, done, total: None)
    if table.suffix.lower() != ".csv" or table.is_dir():
        raise PaucisError(f"{table}: the table must be a .csv file: choose another --out")
    given = read_points([points] if isinstance(points, str) else points)
    known = [] if truth is None else _truth(Path(truth))
    opened = open_run(run, device, weights)
    search = LandmarkSearch(opened, size, table.absolute().parent, field)
    paths = [support] if isinstance(support, str | Path) else list(support)
    cases = [one_scan(Path(path), opened) for path in paths]
    queried = find_scans(Path(queries), opened.task.channels, series)
    fields = search.fields(queried)
    supports = search.learn(cases, given)
    if truth is not None:
        _check_truth(Path(truth), known, queried, search.landmarks)
    notes = Notes(table.with_name(f".{table.stem}.found.jsonl"), [opened], search.sought)
    sheets = Sheets(table.with_suffix(".png"), search.landmarks, truth is not None)
    looking = _Looking(search, notes, sheets, supports, known, fields)
    looking.show_supports()
    rows, failed = list[Row](), list[str]()
    tell("locating", 0, len(queried))
    for count, case in enumerate(queried, 1):
        found, reason = attempt(case, lambda volume: looking.at(case, volume))  # noqa: B023
        if found is None:
            failed.append(named(case, reason))
        rows += found or []
        tell("locating", count, len(queried))
    if not rows:
        raise PaucisError(_failures(failed, len(queried), None))
    write_rows(table, rows, truth is not None)
    sheets.finish()
    accuracy, accuracy_table = {}, None
    if truth is not None:
        accuracy, accuracy_table = accuracies(rows), table.with_name(f"{table.stem}_accuracy.csv")
        write_accuracy(accuracy_table, accuracy)
    if failed:
        raise PaucisError(_failures(failed, len(queried), table))
    notes.forget()
    unmarked = tuple(dict.fromkeys(one.landmark for one in given if one.landmark not in search.landmarks))
    return Located(table, sheets.written, accuracy_table, rows, accuracy, len(queried), search.pooling.window, unmarked)


class _Looking:
    """Looks at scans one after another, remembers what was found, and shows it."""

    def __init__(
        self,
        search: LandmarkSearch,
        notes: Notes,
        sheets: Sheets,
        supports: Sequence[Support],
        known: Sequence[Given],
        fields: FieldOf,
    ) -> None:
        self.search = search
        self.notes = notes
        self.sheets = sheets
        self.supports = supports
        self.known = known
        self.fields = fields

    def show_supports(self) -> None:
        """Puts the supports on the first sheet, with the points that were given."""
        for one in self.supports:
            title = f"support {one.case.name}"
            self.sheets.add(tiles_of(title, one.volume, one.points, {}, self.search.landmarks, {}))

    def at(self, case: Case, volume: Volume) -> list[Row]:
        """The rows of a scan."""
        geometry, shape = volume.geometry, volume.array.shape[1:]
        true = places_in(self.known, case.name, shape, geometry.dims)
        true = {name: point for name, point in true.items() if name in self.search.landmarks}
        noted = self.notes.of(case)
        if "peaks" not in noted:
            self.notes.add(case, {"peaks": self.search.peaks(volume, self.fields(case, volume))})
            noted = self.notes.of(case)
        peaks = {
            name: Peak(tuple(voxel), tuple(center), *rest) for name, (voxel, center, *rest) in noted["peaks"].items()
        }
        trace = self.search.run.plan.trace(geometry, shape)
        rows = rows_of(case.name, peaks, true, trace, self.search.pooling.window, self._is_support(case))
        self._show(case, volume, rows, true)
        return rows

    def _is_support(self, case: Case) -> bool:
        files = [image.resolve() for image in case.images]
        return any([image.resolve() for image in one.case.images] == files for one in self.supports)

    def _show(self, case: Case, volume: Volume, rows: Sequence[Row], true: dict[str, Point]) -> None:
        found = {row.landmark: row.place for row in rows}
        sure = {row.landmark: row.confidence for row in rows}
        self.sheets.add(tiles_of(case.name, volume, found, true, self.search.landmarks, sure))


def _truth(path: Path) -> list[Given]:
    known = read_table(path)
    if any(one.image is None for one in known):
        raise PaucisError(f"{path}: has no column 'image', and true points are of many: add it")
    return known


def _check_truth(path: Path, known: Sequence[Given], queried: Sequence[Case], landmarks: Sequence[str]) -> None:
    """Refuses true points of which none is looked for."""
    names = list(dict.fromkeys(one.landmark for one in known))
    mine = [one for one in known if one.landmark in landmarks]
    if not mine:
        raise PaucisError(
            f"{path}: has no point of the landmarks {', '.join(landmarks)} (there: {', '.join(names[:5])}): "
            "name them alike"
        )
    if not any(is_called(case.name, str(one.image)) for one in mine for case in queried):
        raise PaucisError(
            f"{path}: has no point of any query, such as '{queried[0].name}' (there: '{mine[0].image}'): "
            "name them alike"
        )


def _failures(failed: Sequence[str], total: int, table: Path | None) -> str:
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    others = f" (points of the others: {table})" if table else ""
    return f"{len(failed)} of {total} scans could not be looked at{others}: {'; '.join(failed[:SHOWN])}{more}"


__all__ = ["Located", "locate"]
