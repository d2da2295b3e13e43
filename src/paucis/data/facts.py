"""What is worth knowing of each scan before training: sizes, geometry, intensities, label counts; remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data import dicom, formats, h5files
from paucis.data.case import Case, Geometry, Grid, Volume
from paucis.data.intensities import summarize
from paucis.data.problems import Problem
from paucis.data.processes import spawned
from paucis.errors import PaucisError
from paucis.files import write_text

_LOG = logging.getLogger(__name__)
_VERSION = 1
_FEW = 8  # new cases that are looked at faster than a process starts
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CaseFacts:
    """What one look at a case's files told.

    Attributes:
        name: the case.
        content: blake2b hex digest of its image files' bytes (of the ``image`` array for h5 files).
        label_content: the same of its label, or None when it has none.
        shape: voxels along (Z, Y, X).
        channels: number of channels.
        geometry: of its first image file.
        dtype: NumPy name of the type the images are stored in.
        intensity: per channel ``mean, std, min, max, p005, p500, p995`` over the finite voxels (quantiles at 0.5 %,
            50 % and 99.5 %).
        foreground: the same over voxels whose raw label is above 0 and not one to ignore; None without a label or
            without such voxels, or where the label has another size.
        nonfinite: NaN and infinite voxels, over all channels.
        label_counts: voxels of each raw label value, or None without a label.
        label_shape: voxels of the label along (Z, Y, X), or None.
        label_geometry: of the label, or None.
    """

    name: str
    content: str
    label_content: str | None
    shape: tuple[int, int, int]
    channels: int
    geometry: Geometry
    dtype: str
    intensity: tuple[dict[str, float], ...]
    foreground: tuple[dict[str, float], ...] | None
    nonfinite: int
    label_counts: dict[int, int] | None
    label_shape: tuple[int, int, int] | None
    label_geometry: Geometry | None


def gather(
    cases: Sequence[Case],
    store: Path,
    workers: int = 0,
    progress: Progress | None = None,
    ignore: frozenset[int] = frozenset(),
) -> tuple[dict[str, CaseFacts], list[Problem]]:
    """Look at every case, in parallel, and remember what was seen.

    A case without a label is looked at without one: no label file is opened for it. What is remembered holds as long
    as path, size and modification time of all files of the case stay as they are.

    Args:
        cases: to look at.
        store: folder whose ``facts/`` is the memory, one small JSON file per case; made when missing.
        workers: processes; 0 stays in this one.
        progress: called with (done, of all).
        ignore: raw label values that mark voxels about which nothing is said (``paucis.data.layouts.ignored``).

    Returns:
        Facts by case name, in the order of ``cases``, and a problem for each case that could not be read.
    """
    store = store / "facts"
    found: dict[str, CaseFacts] = {}
    problems: dict[str, Problem] = {}
    new = []
    for case in cases:
        remembered = _recall(case, store, ignore)
        if remembered is None:
            new.append(case)
        else:
            found[case.name] = remembered
    done = len(found)
    if progress:
        progress(done, len(cases))
    for case, outcome in _look_at_all(new, workers, ignore):
        if isinstance(outcome, Problem):
            problems[case.name] = outcome
        else:
            found[case.name] = outcome
            _remember(case, outcome, store, ignore)
        done += 1
        if progress:
            progress(done, len(cases))
    names = [case.name for case in cases]
    return {name: found[name] for name in names if name in found}, [
        problems[name] for name in names if name in problems
    ]


def look(case: Case, ignore: frozenset[int] = frozenset()) -> CaseFacts:
    """The facts of one case, from its files.

    Args:
        case: with its label, if that may be opened.
        ignore: raw label values that mark voxels about which nothing is said.

    Raises:
        PaucisError: a file cannot be read.
    """
    image = formats.read_image(case.images)
    grid = Grid(image.array.shape[1:], image.geometry)
    label = formats.read_label(case.label, lambda: grid) if case.label else None
    counts, inside = None, None
    if label is not None:
        values, numbers = np.unique(label.array, return_counts=True)
        counts = {int(value): int(number) for value, number in zip(values, numbers, strict=True)}
        if label.array.shape[1:] == image.array.shape[1:]:
            inside = (label.array[0] > 0) & ~np.isin(label.array[0], list(ignore))
    summaries = [summarize(channel) for channel in image.array]
    visible = inside is not None and bool(inside.any())
    return CaseFacts(
        name=case.name,
        content=_digest(case.images, image),
        label_content=_digest([case.label], label) if case.label and label else None,
        shape=_shape(image.array),
        channels=len(image.array),
        geometry=image.geometry,
        dtype=image.array.dtype.name,
        intensity=tuple(summary for summary, _ in summaries),
        foreground=tuple(summarize(channel[inside])[0] for channel in image.array) if visible else None,
        nonfinite=sum(nonfinite for _, nonfinite in summaries),
        label_counts=counts,
        label_shape=_shape(label.array) if label else None,
        label_geometry=label.geometry if label else None,
    )


def _shape(array: NDArray[Any]) -> tuple[int, int, int]:
    _, depth, height, width = array.shape
    return depth, height, width


def _digest(paths: Sequence[Path], volume: Volume) -> str:
    """Of the files' bytes; of the array for h5 files, which hold image and label in one."""
    digest = hashlib.blake2b(digest_size=16)
    for path in [file for address in paths for file in formats.members(address)]:
        if path.suffix.lower() in h5files.SUFFIXES:
            digest.update(str((volume.array.shape, volume.array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(volume.array).data)
        else:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    digest.update("".join(map(dicom.fragment, paths)).encode())
    return digest.hexdigest()


def _look_or_tell(case: Case, ignore: frozenset[int]) -> CaseFacts | Problem:
    try:
        return look(case, ignore)
    except PaucisError as error:
        return Problem.of(error, (*case.images, *([case.label] if case.label else [])))
    except MemoryError:
        return Problem("error", str(case.images[0]), "does not fit into memory", "crop or resample it")


def _look_at_all(
    cases: Sequence[Case], workers: int, ignore: frozenset[int]
) -> Iterator[tuple[Case, CaseFacts | Problem]]:
    work = partial(_look_or_tell, ignore=ignore)
    left = {case.name: case for case in cases}
    if workers > 0 and len(cases) > _FEW:
        try:
            for case, outcome in _in_processes(work, cases, workers):
                yield left.pop(case.name), outcome
        except BrokenProcessPool:  # one was killed, by a lack of memory as a rule: go on in this process alone
            _LOG.warning("a process that read scans was killed (lack of memory?); reading on without processes")
    for case in list(left.values()):
        yield case, work(case)


def _in_processes(
    work: Callable[[Case], CaseFacts | Problem], cases: Sequence[Case], workers: int
) -> Iterator[tuple[Case, CaseFacts | Problem]]:
    with spawned(work, cases, workers) as jobs:
        case_of = dict(zip(jobs, cases, strict=True))
        for job in as_completed(jobs):
            yield case_of[job], job.result()


def _memory(case: Case, store: Path, ignore: frozenset[int]) -> Path | None:
    """Where the facts of a case lie, by what its files look like from outside; None when one is missing."""
    seen: list[Any] = [_VERSION, case.name, len(case.images), *sorted(ignore)]
    for path in (*case.images, *([case.label] if case.label else [])):
        try:
            files = [(file, file.stat()) for file in formats.members(path)]
        except (OSError, PaucisError):
            return None
        seen += [(os.path.abspath(file), status.st_size, status.st_mtime_ns) for file, status in files]
        if formats.suffix(path) in ("", *dicom.SUFFIXES):
            seen.append((dicom.fragment(path), os.environ.get(dicom.TOLERANCE)))
    return store / f"{hashlib.blake2b(json.dumps(seen).encode(), digest_size=16).hexdigest()}.json"


def _recall(case: Case, store: Path, ignore: frozenset[int]) -> CaseFacts | None:
    path = _memory(case, store, ignore)
    if path is None:
        return None
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(case: Case, facts: CaseFacts, store: Path, ignore: frozenset[int]) -> None:
    """Keep the facts; a memory that cannot be written is a slower next time, no more."""
    path = _memory(case, store, ignore)
    if path is None:
        return
    with suppress(PaucisError):
        write_text(path, json.dumps(asdict(facts)))


def _from_json(content: dict[str, Any]) -> CaseFacts:
    content = {field.name: content[field.name] for field in fields(CaseFacts)}
    for key in ("geometry", "label_geometry"):
        if content[key] is not None:
            known: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in content[key].items()}
            content[key] = Geometry(**known)
    for key in ("shape", "label_shape", "intensity", "foreground"):
        content[key] = tuple(content[key]) if content[key] is not None else None
    if content["label_counts"] is not None:
        content["label_counts"] = {int(value): count for value, count in content["label_counts"].items()}
    return CaseFacts(**content)
