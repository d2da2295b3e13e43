"""The folder a prediction writes: masks, maps, table and manifest, each complete or absent."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import paucis
from paucis.data.case import Case, Geometry
from paucis.data.formats import map_suffix, mask_suffix, write_map, write_mask, write_segmentation
from paucis.data.plan import Plan
from paucis.data.segment_codes import Codes
from paucis.engine.files import read_json
from paucis.errors import PaucisError
from paucis.files import write, write_json
from paucis.inference.predictor import CasePrediction
from paucis.inference.sampling import SAMPLES
from paucis.inference.windows import BLOCK
from paucis.workflows.attempt import named

SEGMENTATION = ".dcm"


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


class PredictionWriter:
    """Writes cases to a folder: the mask last, and no file of a case that could not be finished.

    ``OUT/.partial`` holds what is too large for memory; it goes when the writer is closed.

    Args:
        out: the folder; made when missing.
        plan: classes and raw mask values.
        runs: run folders, for the manifest.
        codes: of the classes, for masks as DICOM segmentations; None writes each scan's own format.
        keep: leave the cases that an earlier call finished in table and manifest, and add to them.
    """

    def __init__(
        self, out: Path, plan: Plan, runs: Sequence[str], codes: Codes | None = None, *, keep: bool = False
    ) -> None:
        self.out = out
        self.codes = codes
        self.plan = plan
        self.runs = list(runs)
        self.partial = out / ".partial"
        self.result = Predictions(out, out / "manifest.json", out / "cases.csv")
        self.entries: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.units: set[str] = set()
        self.sampled: dict[str, None] = {}  # columns of the samples' volumes, in order
        if keep:
            self._take_over()
        self._in_folder(self._start)

    def allocate(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Memory for a map; the probabilities of all classes, and the masks of all samples, lie on disk."""
        if name not in ("probabilities", SAMPLES):
            return np.zeros(shape, dtype)
        array: NDArray[Any] = self._in_folder(
            lambda: np.lib.format.open_memmap(self.partial / f"{name}.npy", "w+", dtype, shape)
        )
        return array

    def add(self, case: Case, prediction: CasePrediction) -> None:
        """Writes the files of a case, then names them in table and manifest."""
        self._in_folder(lambda: self._write(case, prediction))

    def fail(self, case: Case, reason: str) -> None:
        """Notes a scan that could not be predicted."""
        self.result.failed[case.name] = named(case, reason)
        self._in_folder(self._tables)

    def close(self) -> None:
        """Removes what is unfinished."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _start(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        if not self.entries:
            self.result.manifest.unlink(missing_ok=True)  # an older one would name files that are about to change
            self.result.table.unlink(missing_ok=True)

    def _take_over(self) -> None:
        """The cases of an earlier call whose files are all there."""
        if not (self.result.manifest.is_file() and self.result.table.is_file()):
            return
        for entry in read_json(self.result.manifest).get("cases", []):
            maps = {name: self.out / place for name, place in entry["maps"].items()}
            if all(path.is_file() for path in (self.out / entry["mask"], *maps.values())):
                self.entries.append(entry)
                self.result.masks[entry["name"]] = self.out / entry["mask"]
                self.result.maps[entry["name"]] = maps
        with self.result.table.open(newline="") as file:
            self.rows = [row for row in csv.DictReader(file) if row["case"] in self.result.masks]
        columns = self.rows[0] if self.rows else {}
        self.units = {unit for unit in ("volume_ml", "volume_pixels") if unit in columns}
        self.sampled = {name: None for name in columns if name.startswith("sampled_")}

    def _write(self, case: Case, prediction: CasePrediction) -> None:
        geometry = prediction.geometry
        suffix = mask_suffix(geometry) if self.codes is None else SEGMENTATION
        masks = {f"{case.name}{suffix}": prediction.mask}
        masks |= {f"members/{name}/{case.name}{suffix}": mask for name, mask in prediction.members.items()}
        if prediction.samples is not None:
            drawn = enumerate(prediction.samples, 1)
            masks |= {f"samples/{case.name}_{number}{suffix}": mask for number, mask in drawn}
        maps = self._named_maps(prediction)
        files = {name: f"maps/{case.name}_{name}{_suffix(name, geometry)}" for name in maps}
        try:
            for name, values in maps.items():
                _write_map(self.out / files[name], values, geometry)
            for place, mask in reversed(masks.items()):
                self._write_mask(self.out / place, mask, case, geometry)
        except BaseException:
            for place in (*files.values(), *masks):
                (self.out / place).unlink(missing_ok=True)
            raise
        self._note(case, prediction, files, next(iter(masks)))
        self._tables()

    def _write_mask(self, path: Path, mask: NDArray[Any], case: Case, geometry: Geometry) -> None:
        if self.codes is None:
            write_mask(path, self._raw(mask), geometry)
        else:
            write_segmentation(path, mask, case.images[0], self.plan.classes, self.codes)

    def _values(self) -> list[int]:
        """What masks hold: the dataset's values, or segment numbers, which count classes."""
        return [int(value) for value in self.plan.values] if self.codes is None else list(range(len(self.plan.values)))

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
            figures = {column: score.volume, f"{column}_low": score.low, f"{column}_high": score.high}
            figures |= {"score": score.score, "mean_confidence": score.confidence, "mean_entropy": score.entropy}
            if prediction.spread:
                spread = prediction.spread[score.label]
                figures |= {f"sampled_{column}_{name}": value for name, value in spread._asdict().items()}
                self.sampled |= {name: None for name in figures if name.startswith("sampled_")}
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
        volumes = [f"{unit}{end}" for unit in sorted(self.units) for end in ("", "_low", "_high")]
        columns = ["case", "class", *volumes, "score", "mean_confidence", "mean_entropy", *self.sampled]

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
                "values": self._values(),
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


def _suffix(name: str, geometry: Geometry) -> str:
    """Of a map's file: a block's map of a picture is a picture, to be looked at."""
    return mask_suffix(geometry) if name.startswith(BLOCK) else map_suffix(geometry)


def _write_map(path: Path, values: NDArray[Any], geometry: Geometry) -> None:
    if path.suffix == ".png":
        write_mask(path, np.rint(255 * values).astype(np.uint8), geometry)
    else:
        write_map(path, values, geometry)
