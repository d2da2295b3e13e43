"""Prepared cases on disk, keyed by their content and by what of the plan decides on them.

An image, a label, and a label's voxel positions lie in files of their own: a case without a label, or one whose label
may not be seen, has no label file to open, and a plan that changes the batch size makes nothing anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paucis.data.cached import CachedCase, compress
from paucis.data.case import Case
from paucis.data.facts import CaseFacts
from paucis.data.field import prepare_field, stored_field
from paucis.data.formats import read_grid, read_image, read_label
from paucis.data.grid import Trace
from paucis.data.options import NONE
from paucis.data.plan import Plan
from paucis.data.preparation import prepare, prepare_label
from paucis.data.processes import single_threaded, spawned
from paucis.errors import PaucisError
from paucis.files import unwritable, write

log = logging.getLogger(__name__)

SAMPLES = 10_000
"""Voxels per class whose positions are kept for drawing crops."""
WORTH_PROCESSES = 2**25
"""Voxels to prepare from which on starting processes pays."""
ELSEWHERE = "set data.cache=FOLDER"
"""What to do where the cache cannot be written."""
STALE = 24 * 3600.0
"""Seconds after which a file that was never finished is thrown away."""

Progress = Callable[[int, int], None]


class Cache:
    """The prepared cases of one plan.

    Args:
        home: folder that all plans share (``paucis.data.options.cache_home``).
        plan: the plan.
    """

    def __init__(self, home: Path, plan: Plan) -> None:
        self.home = home
        self.plan = plan

    def estimate(self, facts: Iterable[CaseFacts]) -> int:
        """Bytes that the images and labels of these cases take at most (before compression)."""
        voxels = (math.prod(self.plan.trace(case.geometry, case.shape).prepared) for case in facts)
        return sum(count * (4 * len(self.plan.channels) + 1) for count in voxels)

    def open(self, case: Case, facts: CaseFacts) -> CachedCase:
        """Where a case lies once prepared; its label only if the case knows of one."""
        trace = self.plan.trace(facts.geometry, facts.shape)
        image = self.home / "images" / f"{facts.content[:40]}-{_digest(self.plan.image_key(), trace)}.b2nd"
        field = self._field(case, facts, trace)
        if case.label is None:
            return CachedCase(case.name, trace, image, field_path=field)
        if facts.label_content is None:
            raise PaucisError(
                f"case '{case.name}': nothing is known of its label {case.label}: look at the cases again"
            )
        stem = self.home / "labels" / f"{facts.label_content[:40]}-{_digest(self.plan.label_key(), trace)}"
        return CachedCase(case.name, trace, image, stem.with_suffix(".b2nd"), stem.with_suffix(".npy"), field)

    def _field(self, case: Case, facts: CaseFacts, trace: Trace) -> Path | None:
        """Where the field of view lies: keyed by what it was made of, the image or a mask of its own."""
        if self.plan.field == NONE:
            return None
        content = facts.content if case.field is None else hashlib.blake2b(case.field.read_bytes()).hexdigest()
        return self.home / "fields" / f"{content[:40]}-{_digest(self.plan.field_key(), trace)}.b2nd"

    def ensure(
        self,
        cases: Sequence[Case],
        facts: Mapping[str, CaseFacts],
        workers: int = 0,
        progress: Progress | None = None,
    ) -> list[CachedCase]:
        """Prepares what is not there yet.

        Every file appears whole or not at all, so an interrupted call is taken up where it stopped.

        Args:
            cases: which.
            facts: by case name.
            workers: processes; 0 works in this one, as do few small cases.
            progress: told how many of how many missing cases are done.

        Returns:
            The cases, ready to read, in the order of ``cases``.

        Raises:
            PaucisError: a case cannot be prepared (the message names it and the cause), or the disk is full.
        """
        ready = [self.open(case, facts[case.name]) for case in cases]
        jobs = [Job(case, cached, self.plan) for case, cached in zip(cases, ready, strict=True) if _missing(cached)]
        if not jobs:
            return ready
        self._make_room(jobs, facts)
        voxels = sum(math.prod(job.cached.shape) for job in jobs)
        if workers > 1 and len(jobs) > 1 and voxels >= WORTH_PROCESSES:
            _in_processes(jobs, workers, progress)
        else:
            for done, job in enumerate(jobs, start=1):
                _prepare(job)
                if progress is not None:
                    progress(done, len(jobs))
        return ready

    def _make_room(self, jobs: Sequence[Job], facts: Mapping[str, CaseFacts]) -> None:
        size = self.estimate(facts[job.case.name] for job in jobs)
        log.info("preparing %d cases, at most %.1f MB, in %s", len(jobs), size / 1e6, self.home)
        try:
            for kind in ("images", "labels", "fields"):
                (self.home / kind).mkdir(parents=True, exist_ok=True)
                for left in (self.home / kind).glob("*.part"):
                    with suppress(FileNotFoundError):
                        if time.time() - left.stat().st_mtime > STALE:
                            left.unlink()
        except OSError as error:
            raise unwritable(self.home, error, ELSEWHERE) from error


class Job(NamedTuple):
    """One case to prepare."""

    case: Case
    cached: CachedCase
    plan: Plan


def _missing(cached: CachedCase) -> bool:
    paths = (cached.image_path, cached.label_path, cached.positions_path, cached.field_path)
    return any(path is not None and not path.exists() for path in paths)


def _prepare(job: Job) -> None:
    """Writes what of a case is missing; whatever goes wrong names the case."""
    case, cached, plan = job
    path = case.images[0]
    try:
        if not cached.image_path.exists():
            image, trace = prepare(read_image(case.images), plan)
            if trace.prepared != cached.shape:
                raise PaucisError("its file is not the one that was looked at before: look at the cases again")
            _write(cached.image_path, compress(image, plan.ndim))
        if cached.field_path is not None and not cached.field_path.exists():
            path = case.field or path
            field = prepare_field(stored_field(case, cached.trace.shape), cached.trace)
            _write(cached.field_path, compress(field.astype(np.uint8), plan.ndim))
        if case.label is None or cached.label_path is None or cached.positions_path is None:
            return
        if not (cached.label_path.exists() and cached.positions_path.exists()):
            path = case.label
            label = prepare_label(read_label(case.label, lambda: read_grid(case.images)), plan, cached.trace)
            positions = BytesIO()
            np.save(positions, sample_positions(label, len(plan.classes)), allow_pickle=False)
            _write(cached.positions_path, positions.getvalue())
            _write(cached.label_path, compress(label, plan.ndim))
    except PaucisError as error:
        text = str(error)
        if case.name in text or str(cached.image_path.parents[1]) in text:
            raise
        at = "" if str(path) in text else f" ({path})"
        raise PaucisError(f"case '{case.name}'{at}: {text}") from error
    except MemoryError as error:
        raise PaucisError(f"case '{case.name}': not enough memory to prepare it; set data.workers=0") from error
    except Exception as error:
        raise PaucisError(f"case '{case.name}' ({path}): {type(error).__name__}: {error}") from error


def sample_positions(label: NDArray[np.uint8], classes: int) -> NDArray[np.int32]:
    """Up to ``SAMPLES`` voxels of every class but the background: rows (class, z, y, x), sorted by class."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(1, classes):
        found = np.flatnonzero(label == index)
        if found.size > SAMPLES:
            found = np.sort(rng.choice(found, SAMPLES, replace=False))
        voxels = np.stack(np.unravel_index(found, label.shape), 1)
        rows.append(np.concatenate([np.full((len(voxels), 1), index), voxels], 1))
    return np.concatenate(rows).astype(np.int32)


def _write(path: Path, content: bytes) -> None:
    write(path, lambda draft: draft.write_bytes(content), ELSEWHERE)


def _in_processes(jobs: Sequence[Job], workers: int, progress: Progress | None) -> None:
    try:
        with spawned(_prepare, jobs, workers, single_threaded) as futures:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(jobs))
    except BrokenProcessPool as error:
        raise PaucisError(
            "a process that prepares cases was killed, most often for want of memory: set data.workers=1"
        ) from error


def _digest(key: str, trace: Trace) -> str:
    """The plan's part, and the geometry's, in a file name: equal voxels may lie differently in space."""
    where = [key, trace.axes, trace.flips, trace.prepared]
    return hashlib.blake2b(json.dumps(where).encode(), digest_size=10).hexdigest()
