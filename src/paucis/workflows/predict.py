"""Predict: scans in, masks and uncertainty maps out, on each scan's own grid and in its own format."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""

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
        failed: why each of the other scans could not be predicted, by name.
    """

    out: Path
    manifest: Path
    table: Path
    masks: dict[str, Path] = field(default_factory=dict)
    maps: dict[str, dict[str, Path]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the finished cases."""
        return tuple(self.masks)


def predict(
    run: str | Path,
    scans: str | Path,
    *,
    out: str | Path,
    also: Sequence[str | Path] = (),
    options: PredictOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    weights: str | None = None,
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
        options: ``PredictOptions``, or their values by dotted name (``{"predict.overlap": "0.25"}``).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights: ``best`` or ``last``; None takes the best where validation chose one.
        save_probabilities: also writes one map of probabilities per class.
        progress: told before the first case and after each.

    Raises:
        PaucisError: no scans, not a run folder, runs that do not fit together, a device that is not there, or an
            output that cannot be written; also, when all other scans are done, scans that could not be predicted.
    """
    chosen = _options(options, save_probabilities)
    members = [open_run(folder, device, weights) for folder in (run, *also)]
    check_ensemble(members)
    for member in members:
        chosen.strides(member.plan.window, member.task.ndim)  # refuses those that do not fit, before any scan is read
    cases = find_scans(Path(scans), members[0].task.channels)
    _check_out(cases, Path(out))
    tell = progress or (lambda done, total: None)
    writer = _Writer(Path(out), members, [str(folder) for folder in (run, *also)])
    try:
        tell(0, len(cases))
        for number, case in enumerate(cases, 1):
            _one(case, members, chosen, writer)
            tell(number, len(cases))
    finally:
        writer.close()
    _report(writer.result, len(cases))
    return writer.result


def _options(options: PredictOptions | Mapping[str, Any] | None, save_probabilities: bool) -> PredictOptions:
    if not isinstance(options, PredictOptions):
        given = {}
        for key, value in (options or {}).items():
            section, _, name = key.rpartition(".")
            if section not in ("", "predict"):
                raise PaucisError(
                    f"unknown option '{key}': prediction takes predict.* only, such as predict.overlap=0.25"
                )
            given[name] = value
        options = build(PredictOptions, given, "predict.")
    if save_probabilities and "probabilities" not in options.maps:
        options = replace(options, maps=(*options.maps, "probabilities"))
    return options


def _check_out(cases: Sequence[Case], out: Path) -> None:
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
    reasons = list(result.failed.values())
    more = f"; and {len(reasons) - SHOWN} more, see {result.manifest}" if len(reasons) > SHOWN else ""
    others = f" (the others are in {result.out})" if result.masks else ""
    raise PaucisError(f"{len(reasons)} of {total} scans not predicted{others}: {'; '.join(reasons[:SHOWN])}{more}")


class _Writer:
    """Writes cases to a folder: the mask last, and no file of a case that could not be finished.

    ``OUT/.partial`` holds what is too large for memory; it goes when the writer is closed.
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
        known = any(str(image) in reason for image in case.images)
        self.result.failed[case.name] = reason if known else f"{case.images[0]}: {reason}"
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
        masks = {f"{case.name}{mask_suffix(geometry)}": prediction.mask}
        masks |= {f"maps/{case.name}_{name}{mask_suffix(geometry)}": mask for name, mask in prediction.members.items()}
        maps = self._named_maps(prediction)
        files = {name: f"maps/{case.name}_{name}{map_suffix(geometry)}" for name in maps}
        try:
            for name, values in maps.items():
                write_map(self.out / files[name], values, geometry)
            for place, mask in reversed(masks.items()):
                write_mask(self.out / place, self._raw(mask), geometry)
        except BaseException:
            for place in (*files.values(), *masks):
                (self.out / place).unlink(missing_ok=True)
            raise
        self._note(case, prediction, files, next(iter(masks)))
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
        return np.asarray(values.astype(np.result_type(*map(np.min_scalar_type, self.plan.values)))[mask])

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

    def _in_folder(self, act: Callable[[], Any]) -> Any:
        """Runs what writes; a full or closed disk ends the prediction with one line."""
        try:
            return act()
        except OSError as error:
            raise PaucisError(f"{self.out}: cannot be written ({error}): free space or choose another --out") from error
