"""Predict: scans in, masks and uncertainty maps out, on each scan's own grid and in its own format."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import paucis
from paucis.data.case import Case
from paucis.data.formats import map_suffix, mask_suffix, read_image, write_map, write_mask
from paucis.data.layouts import scans as find_scans
from paucis.engine.files import write, write_json
from paucis.engine.runs import Run, open_run
from paucis.errors import PaucisError
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import CasePrediction, check_ensemble, predict_case
from paucis.options import build

Progress = Callable[[int, int, str], None]
"""Called with (cases done, cases in all, name of the case that starts)."""

SHOWN = 3  # failed scans named in the last message; the manifest names all


@dataclass
class Predictions:
    """What was written.

    Attributes:
        out: the folder.
        manifest: its ``manifest.json``.
        table: its ``cases.csv``.
        masks: mask file of each case by name.
        maps: map files of each case, by case and map name.
        failed: reason of each scan that could not be predicted, by name.
    """

    out: Path
    manifest: Path
    table: Path
    masks: dict[str, Path] = field(default_factory=dict)
    maps: dict[str, dict[str, Path]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def predict(
    run: str | Path,
    scans: str | Path,
    *,
    out: str | Path,
    also: Sequence[str | Path] = (),
    options: PredictOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    save_probabilities: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """Predicts a scan or a folder of scans.

    Writes ``OUT/CASE.ext`` (the dataset's own mask values), ``OUT/maps/CASE_entropy.ext``, ``..._confidence.ext`` and
    further maps, ``OUT/cases.csv`` and ``OUT/manifest.json``. Files appear when they are complete; the manifest lists
    the finished cases only and is brought up to date after each.

    Args:
        run: run folder.
        scans: a file or a folder.
        out: folder for the predictions; made when missing.
        also: further runs, which make an ensemble with the first.
        options: ``PredictOptions``, or their values by name (``{"overlap": "0.25"}``).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        save_probabilities: also writes one map of probabilities per class.
        progress: told of every case before it starts, and once at the end.

    Raises:
        PaucisError: no scans, not a run folder, runs that do not fit together, a device that is not there, or an
            output that cannot be written; also, when all other scans are done, scans that could not be predicted.
    """
    chosen = _options(options, save_probabilities)
    cases = find_scans(Path(scans))
    if not cases:
        raise PaucisError(f"{scans}: holds no scans that can be read")
    _check_names(cases, Path(scans))
    _check_inputs(cases, Path(out))
    members = [open_run(Path(folder), device) for folder in (run, *also)]
    check_ensemble(members)
    writer = _Writer(Path(out), members, [str(folder) for folder in (run, *also)])
    try:
        for number, case in enumerate(cases):
            if progress:
                progress(number, len(cases), case.name)
            _one(case, members, chosen, writer)
    finally:
        writer.close()
    if progress:
        progress(len(cases), len(cases), "")
    _report(writer.result, len(cases))
    return writer.result


def _options(options: PredictOptions | Mapping[str, Any] | None, save_probabilities: bool) -> PredictOptions:
    if not isinstance(options, PredictOptions):
        options = build(PredictOptions, dict(options or {}), "predict.")
    if save_probabilities and "probabilities" not in options.maps:
        options = PredictOptions(**{**vars(options), "maps": (*options.maps, "probabilities")})
    return options


def _check_names(cases: Sequence[Case], scans: Path) -> None:
    twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if twice:
        raise PaucisError(f"{scans}: several scans are called '{twice[0]}': rename them, or predict them apart")


def _check_inputs(cases: Sequence[Case], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise PaucisError(f"{out}: is a file; --out needs a folder")
    folder = out.resolve()
    for parent in {image.resolve().parent for case in cases for image in case.images}:
        if parent in (folder, folder / "maps"):
            raise PaucisError(f"{out}: holds the scans, which predictions must not overwrite: choose another --out")


def _one(case: Case, members: Sequence[Run], options: PredictOptions, writer: _Writer) -> None:
    """Predicts and writes one case; what is wrong with the scan itself is noted and the others go on."""
    try:
        volume = read_image(case.images)
        prediction = predict_case(members, volume, options, allocate=writer.allocate)
    except PaucisError as error:
        writer.fail(case, str(error))
        return
    except RuntimeError as error:  # torch's out-of-memory errors derive from it
        if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error):
            raise
        writer.fail(case, "does not fit in memory: lower predict.batch, or use device=cpu")
        return
    writer.add(case, prediction)


def _report(result: Predictions, total: int) -> None:
    if not result.failed:
        return
    named = [f"{name} ({reason})" for name, reason in list(result.failed.items())[:SHOWN]]
    more = f"; and {len(result.failed) - SHOWN} more, see {result.manifest}" if len(result.failed) > SHOWN else ""
    raise PaucisError(
        f"{len(result.failed)} of {total} scans could not be predicted, the others are in {result.out}: "
        f"{'; '.join(named)}{more}"
    )


class _Writer:
    """Writes cases to a folder, complete or not at all.

    Files are written in ``OUT/.partial`` and then moved; the folder goes when the writer is closed.
    """

    def __init__(self, out: Path, members: Sequence[Run], runs: list[str]) -> None:
        self.out = out
        self.plan = members[0].plan
        self.runs = runs
        self.partial = out / ".partial"
        self.result = Predictions(out, out / "manifest.json", out / "cases.csv")
        self.entries: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.units: set[str] = set()
        self._in_folder(self._start)

    def allocate(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Memory for a map; that of all classes' probabilities lies on disk."""
        if name != "probabilities":
            return np.zeros(shape, dtype)
        array: NDArray[Any] = self._in_folder(
            lambda: np.lib.format.open_memmap(self.partial / "probabilities.npy", "w+", dtype, shape)
        )
        return array

    def add(self, case: Case, prediction: CasePrediction) -> None:
        """Writes the files of a case, then names them in table and manifest."""
        self._in_folder(lambda: self._write(case, prediction))

    def fail(self, case: Case, reason: str) -> None:
        """Notes a scan that could not be predicted."""
        self.result.failed[case.name] = reason
        self._in_folder(self._tables)

    def close(self) -> None:
        """Removes what is unfinished."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _start(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        self.result.manifest.unlink(missing_ok=True)  # an older one would name files that are about to change
        self.result.table.unlink(missing_ok=True)

    def _write(self, case: Case, prediction: CasePrediction) -> None:
        geometry = prediction.geometry
        suffix = mask_suffix(geometry)
        masks = {f"{case.name}{suffix}": prediction.mask}
        masks |= {f"maps/{case.name}_{name}{suffix}": mask for name, mask in prediction.members.items()}
        maps = self._named_maps(prediction)
        files = {name: f"maps/{case.name}_{name}{map_suffix(geometry)}" for name in maps}
        for place, mask in masks.items():
            write_mask(self._temporary(place), self._raw(mask), geometry)
        for name, values in maps.items():
            write_map(self._temporary(files[name]), values.astype(np.float32, copy=False), geometry)
        if files or len(masks) > 1:
            (self.out / "maps").mkdir(exist_ok=True)
        for place in (*files.values(), *reversed(masks)):
            os.replace(self._temporary(place), self.out / place)
        self._note(case, prediction, files, f"{case.name}{suffix}")
        self._tables()

    def _named_maps(self, prediction: CasePrediction) -> dict[str, NDArray[Any]]:
        maps: dict[str, NDArray[Any]] = {}
        for name, values in prediction.maps.items():
            if values.ndim == 3:
                maps[name] = values
            elif name == "probabilities":
                maps |= {f"probability_{self.plan.values[index]}": part for index, part in enumerate(values)}
            else:
                maps |= {f"{name}_{index}": part for index, part in enumerate(values)}
        return maps

    def _raw(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Class indices as the dataset's own mask values."""
        values = np.array(self.plan.values)
        low, high = int(values.min()), int(values.max())
        kind: Any = np.int32 if low < 0 or high > 65535 else np.uint8 if high < 256 else np.uint16
        return np.asarray(values.astype(kind)[mask])

    def _note(self, case: Case, prediction: CasePrediction, files: dict[str, str], mask: str) -> None:
        self.result.masks[case.name] = self.out / mask
        self.result.maps[case.name] = {name: self.out / place for name, place in files.items()}
        column = "volume_ml" if prediction.unit == "mL" else "volume_pixels"
        self.units.add(column)
        for score in prediction.scores[1:]:
            figures = {column: score.volume, "mean_confidence": score.confidence, "mean_entropy": score.entropy}
            shown = {name: "" if math.isnan(figure) else f"{figure:.6g}" for name, figure in figures.items()}
            self.rows.append({"case": case.name, "class": self.plan.classes[score.label], **shown})
        self.entries.append(
            {
                "name": case.name,
                "mask": mask,
                "maps": files,
                "image": [str(image.resolve()) for image in case.images],
                "status": "done",
            }
        )

    def _tables(self) -> None:
        columns = ["case", "class", *sorted(self.units), "mean_confidence", "mean_entropy"]

        def save(path: Path) -> None:
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
                table.writeheader()
                table.writerows(self.rows)

        write(self.result.table, save)
        write_json(
            self.result.manifest,
            {
                "paucis": paucis.__version__,
                "run": self.runs[0],
                "also": self.runs[1:],
                "classes": list(self.plan.classes),
                "values": [int(value) for value in self.plan.values],
                "unit": "pixel" if self.units == {"volume_pixels"} else "mm",
                "cases": self.entries,
                "failed": [{"name": name, "reason": reason} for name, reason in self.result.failed.items()],
            },
        )

    def _temporary(self, place: str) -> Path:
        return self.partial / place.replace("/", "+")

    def _in_folder(self, act: Callable[[], Any]) -> Any:
        """Runs what writes; a full or closed disk ends the prediction with one line."""
        try:
            return act()
        except (OSError, RuntimeError) as error:  # SimpleITK and HDF5 say RuntimeError
            raise PaucisError(f"{self.out}: cannot be written ({error}): free space or choose another --out") from error
