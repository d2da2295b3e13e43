"""The folder a prediction writes: masks, maps, table and manifest, each complete or absent."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paucis
from paucis.data.case import Case
from paucis.data.plan import Plan
from paucis.data.segment_codes import Codes
from paucis.engine.files import read_json
from paucis.files import write, write_json
from paucis.inference.predictor import CasePrediction
from paucis.workflows.attempt import named
from paucis.workflows.prediction_files import CaseFiles, Saved


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
        self.files = CaseFiles(out, plan, codes, self.partial)
        self.result = Predictions(out, out / "manifest.json", out / "cases.csv")
        self.entries: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.units: set[str] = set()
        self.sampled: dict[str, None] = {}  # columns of the samples' volumes, in order
        if keep:
            self._take_over()
        self.files.in_folder(self._start)

    def add(self, case: Case, prediction: CasePrediction) -> None:
        """Writes the files of a case, then names them in table and manifest."""
        self.take(self.files.save(case, prediction))

    def take(self, saved: Saved) -> None:
        """Names the files of a case, which are written, in table and manifest."""
        self.result.masks[saved.name] = self.out / saved.mask
        self.result.maps[saved.name] = {name: self.out / place for name, place in saved.maps.items()}
        self.units.add(saved.unit)
        self.rows += saved.rows
        self.sampled |= saved.sampled
        self.entries.append(saved.entry)
        self.files.in_folder(self._tables)

    def fail(self, case: Case, reason: str) -> None:
        """Notes a scan that could not be predicted."""
        self.result.failed[case.name] = named(case, reason)
        self.files.in_folder(self._tables)

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

    def _values(self) -> list[int]:
        """What masks hold: the dataset's values, or segment numbers, which count classes."""
        return [int(value) for value in self.plan.values] if self.codes is None else list(range(len(self.plan.values)))

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
