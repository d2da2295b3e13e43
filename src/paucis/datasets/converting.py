"""All scans of a source, read, prepared and written, in processes of their own where there are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paucis.data.options import DataOptions, prepare_workers
from paucis.data.problems import Problem
from paucis.data.processes import single_threaded, spawned
from paucis.datasets.scan import Scan
from paucis.datasets.source import Source
from paucis.datasets.steps import LeftOut, apply
from paucis.datasets.writing import write_scan
from paucis.errors import PaucisError

MANY = 32
"""Scans from which on processes are worth their start."""
Result = dict[str, Any] | Problem | None


def convert(
    scans: Sequence[Scan],
    steps: Sequence[Mapping[str, Any]],
    values: Iterable[int],
    root: Path,
    source: Source,
    report: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Writes scans below ``root``.

    Args:
        scans: of the source.
        steps: of the protocol.
        values: that a label may hold, beside 0.
        root: of the dataset.
        source: notes the problems of scans that cannot be read.
        report: called with (done, of all).

    Returns:
        The manifest's entries of what was written, and the names of scans that the protocol leaves out.
    """
    work = partial(_convert, root=root, steps=steps, values=frozenset({0, *values}))
    entries, dropped = [], []
    for done, (scan, result) in enumerate(_results(work, scans), 1):
        if isinstance(result, Problem):
            source.problems.append(result)
        elif result is None:
            dropped.append(scan.name)
        else:
            entries.append(result)
        if report:
            report(done, len(scans))
    return entries, dropped


def _results(work: Callable[[Scan], Result], scans: Sequence[Scan]) -> Iterator[tuple[Scan, Result]]:
    workers = prepare_workers(DataOptions()) if len(scans) >= MANY else 0
    if workers < 2:
        yield from ((scan, work(scan)) for scan in scans)
        return
    with spawned(work, scans, workers, single_threaded) as jobs:
        for scan, job in zip(scans, jobs, strict=True):
            try:
                yield scan, job.result()
            except BrokenProcessPool as error:
                raise PaucisError(
                    f"a process that prepared scans was killed near {scan.name}, most often for want of memory: "
                    "close other programs"
                ) from error


def _convert(scan: Scan, root: Path, steps: Sequence[Mapping[str, Any]], values: frozenset[int]) -> Result:
    """The manifest's entry of a scan, once written; the problem with it; or None where a step leaves it out."""
    try:
        loaded = apply(steps, scan.read(), scan.name)
        unknown = sorted(set(np.unique(loaded.label).tolist()) - values) if loaded.label is not None else []
        if unknown:
            raise PaucisError(
                f"its label holds {', '.join(map(str, unknown[:3]))}, which no class has: take the publisher's labels"
            )
    except LeftOut:
        return None
    except PaucisError as error:
        return _problem(error, scan)
    images, label = write_scan(root, scan.name, loaded)
    entry: dict[str, Any] = {"name": scan.name, "image": images, "patient": scan.patient or scan.name}
    return {**entry, **({"label": label} if label else {}), **({"role": scan.role} if scan.role else {})}


def _problem(error: PaucisError, scan: Scan) -> Problem:
    files = [*scan.images, *scan.labels, scan.images[0].parent]
    text = str(error)
    if not any(text.startswith(str(file)) for file in files):
        text = f"{files[0]}: {text}"
    return Problem.of(PaucisError(text), files)
