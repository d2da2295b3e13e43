"""What runs say of every scan of a pool; remembered, so that a stopped call goes on and another rule costs little."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from paucis.data.case import Case, Volume
from paucis.data.formats import members as files_of
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.evaluation.suggestion import Figures
from paucis.files import unwritable
from paucis.inference.figures import mean_features, voxel_figures
from paucis.inference.options import PredictOptions
from paucis.workflows.attempt import attempt, named
from paucis.workflows.temperature import fingerprint

Known = dict[str, Any]
VOXELWISE = ("entropy", "mutual_information")


class Notes:
    """Figures of scans in a file of lines of JSON, each written when its scan is done.

    They count for the weights, plans and options they were made with, and for files that have not changed since.

    Args:
        path: the file; None remembers nothing.
        runs: that the figures are of.
        options: of their predictions, or another dataclass of what the figures depend on.
    """

    def __init__(self, path: Path | None, runs: Sequence[Run], options: Any) -> None:
        self.path = path
        how = {**asdict(options), "maps": None, "batch": None}
        told = [how, *([fingerprint(run.method), asdict(run.plan)] for run in runs)]
        self.digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
        self.known: dict[str, Known] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._read(line)

    def of(self, case: Case) -> Known:
        """What is known of a scan."""
        return self.known.get(self._key(case), {})

    def add(self, case: Case, found: Known) -> None:
        """Notes figures of a scan beside those known.

        Raises:
            PaucisError: the file cannot be written.
        """
        key = self._key(case)
        self.known[key] = {**self.known.get(key, {}), **found}
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"of": key, **found}))  # first, to end a line that was cut off
        except OSError as error:
            raise unwritable(self.path, error, "choose another --out") from error

    def forget(self) -> None:
        """Removes the file, once nothing is left to go on with."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _read(self, line: str) -> None:
        try:
            found = json.loads(line)
            key = found.pop("of")
        except (ValueError, AttributeError, KeyError, TypeError):
            return  # the end of a call that was cut off
        self.known[key] = {**self.known.get(key, {}), **found}

    def _key(self, case: Case) -> str:
        files: list[Any] = []
        for image in case.images:
            try:
                stats = [(file.resolve(), file.stat()) for file in files_of(image)]
            except (OSError, PaucisError):  # told when the scan is read
                continue
            files += [[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
        return hashlib.sha256(json.dumps([self.digest, case.name, files]).encode()).hexdigest()


def look(
    runs: Sequence[Run],
    cases: Sequence[Case],
    needs: Collection[str],
    options: PredictOptions,
    notes: Notes,
    tell: Callable[[int, int], None],
) -> tuple[dict[str, Figures], dict[str, str]]:
    """Figures of every scan by name, and why the others have none.

    Args:
        runs: an ensemble.
        cases: the scans.
        needs: fields of ``Figures``.
        options: of the predictions.
        notes: what is known already; takes what is found.
        tell: told (done, in all) before the first and after each.
    """
    found: dict[str, Figures] = {}
    failed: dict[str, str] = {}
    tell(0, len(cases))
    for number, case in enumerate(cases, 1):
        missing = sorted(set(needs) - set(notes.of(case)))
        if missing:
            fresh, reason = attempt(case, lambda volume: _figures(runs, volume, missing, options))  # noqa: B023
            if fresh is None:
                failed[case.name] = named(case, reason)
                tell(number, len(cases))
                continue
            notes.add(case, fresh)
        known = {name: value for name, value in notes.of(case).items() if name in needs}
        if "features" in known:
            known["features"] = np.array(known["features"], np.float64)
        found[case.name] = Figures(**known)
        tell(number, len(cases))
    return found, failed


def _figures(runs: Sequence[Run], volume: Volume, needs: Collection[str], options: PredictOptions) -> Known:
    found: Known = {}
    maps = [name for name in VOXELWISE if name in needs]
    if maps or "foreground" in needs:
        found |= voxel_figures(runs, volume, options, maps)
    if "features" in needs:
        found["features"] = mean_features(runs, volume).tolist()
    return found
