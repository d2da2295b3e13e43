"""``paucis prepare``: a published dataset, from the layout of its publisher into one that training takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paucis.data.problems import Problem
from paucis.datasets import Protocol, Published, find
from paucis.datasets import splits as rules
from paucis.datasets.converting import convert
from paucis.datasets.readers import READERS
from paucis.datasets.readers.found import Found
from paucis.datasets.source import Source
from paucis.datasets.writing import write_lists
from paucis.errors import PaucisError
from paucis.files import unwritable

SHOWN = 5
"""Problems that the one line of a refusal tells."""
MISSING = "it is missing"


@dataclass(frozen=True)
class Prepared:
    """A dataset that was written.

    Attributes:
        root: its folder.
        dataset: name in the table.
        protocol: that was followed.
        about: what that means.
        scans: that it holds.
        labeled: of them with a label.
        patients: of them.
        split: scans by role, fold by fold; empty where the protocol has no split or scans are missing.
        splitless: the protocol has a split, which cannot be made of so few scans.
        dropped: scans that the protocol leaves out by what they show.
        left_out: what of the source could not be taken, with ``partial``.
    """

    root: Path
    dataset: str
    protocol: str
    about: str
    scans: int
    labeled: int
    patients: int
    split: tuple[dict[str, int], ...]
    splitless: bool
    dropped: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()


class Refused(PaucisError):
    """A source that is wrong or incomplete.

    Attributes:
        problems: all of it, file by file.
    """

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def prepare(
    name: str,
    source: str | Path,
    *,
    out: str | Path,
    protocol: str | None = None,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Writes a published dataset anew, with the split, order and preprocessing of a protocol.

    Everything is written beside ``out`` and renamed when it is complete; ``source`` is only read.

    Args:
        name: in the table of datasets.
        source: folder that the publisher's archives were unpacked into.
        out: folder of the new dataset; must be new or empty.
        protocol: of the dataset; None takes its first.
        partial: take what is there: scans that are missing or damaged are left out.
        progress: called with (done, of all).

    Raises:
        PaucisError: no such dataset or protocol, ``out`` is not empty.
        Refused: the source holds something else, is incomplete, or has damaged files.
    """
    published, out = find(name), Path(out).expanduser()
    chosen = published.protocol(protocol)
    place = Source(Path(source))
    if out.resolve() == place.root.resolve() or place.root.resolve() in out.resolve().parents:
        raise PaucisError(f"{out} lies within the source, which is not changed: choose another --out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PaucisError(f"{out} is not empty: choose another --out")
    found = _found(published, chosen, place)
    if not partial:
        _refuse(published, place)
    with _draft(out) as draft:
        written, dropped = convert(
            found.scans, chosen.steps, _classes(published, chosen, found).values(), draft, place, progress
        )
        if not partial:
            _refuse(published, place)
        if not written:
            reason = place.problems[0] if place.problems else "the protocol leaves every one out: choose another"
            raise Refused(f"{place.root}: no scan of it can be used: {reason}", place.problems)
        folds = _folds(chosen, written, complete=not place.problems)
        write_lists(draft, _about(published, chosen, found), _ordered(written, folds), folds)
    return Prepared(
        root=out,
        dataset=published.name,
        protocol=chosen.name,
        about=chosen.about,
        scans=len(written),
        labeled=sum("label" in case for case in written),
        patients=len({case["patient"] for case in written}),
        split=tuple({role: len(names) for role, names in fold.items() if names} for fold in folds),
        splitless=chosen.split is not None and not folds,
        dropped=tuple(dropped),
        left_out=tuple(_told_first(place)),
    )


def _found(published: Published, protocol: Protocol, source: Source) -> Found:
    """What the reader finds, with everything that is missing noted."""
    found = READERS[published.reader](source, **{**published.options, **protocol.options})
    if not found.scans and not source.problems:
        packed = source.archives()
        remedy = f"unpack {packed[0].name} first" if packed else f"it must hold {published.layout}"
        held = "is empty" if not source.files else f"holds no {published.title}"
        raise Refused(f"{source.root} {held}: {remedy}", ())
    twice = [name for name, count in Counter(scan.name for scan in found.scans).items() if count > 1]
    for name in twice:
        source.wrong(name, "is there twice", "remove one of them")
    names = {scan.name for scan in found.scans} | {scan.patient for scan in found.scans}
    missing = [name for name in published.ids if name not in names]
    told = " ".join(problem.file for problem in source.problems)
    for name in missing:
        if name not in told:
            source.wrong(name, MISSING, "complete the download")
    short = (published.expect or 0) - len(found.scans)
    if short > 0 and not source.problems:
        source.wrong(source.root, f"{short} of its {published.expect} scans are missing", "complete the download")
    scans = {scan.name: scan for scan in found.scans}.values()
    return Found(sorted(scans, key=lambda scan: rules.natural(scan.name)), found.classes, found.channels)


def _refuse(published: Published, source: Source) -> None:
    """Raises Refused where anything is wrong with the source."""
    problems = _told_first(source)
    if problems:
        shown = "; ".join(f"{_relative(problem.file, source)}: {problem.message}" for problem in problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more (--json lists all)" if len(problems) > SHOWN else ""
        raise Refused(
            f"{source.root} is no complete {published.title}: {shown}{more}: {problems[0].remedy}, or take what is "
            "there with --partial",
            problems,
        )


def _told_first(source: Source) -> list[Problem]:
    """Problems with files that are there before those that only say what is not."""
    return sorted(source.problems, key=lambda problem: problem.message == MISSING)


def _relative(file: str, source: Source) -> str:
    return file.removeprefix(f"{source.root}/")


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its name when the block ends well, and is gone when it does not."""
    folder: Path | None = None
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        except OSError as error:
            raise unwritable(out, error, "choose another --out") from error
        yield folder
        folder.chmod(0o777 & ~_umask())
        if out.is_dir():
            out.rmdir()
        os.replace(folder, out)
    finally:
        if folder is not None and folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _classes(published: Published, protocol: Protocol, found: Found) -> Mapping[str, int]:
    return protocol.classes or published.classes or found.classes


def _folds(protocol: Protocol, cases: Sequence[Mapping[str, Any]], complete: bool) -> list[rules.Fold]:
    """The folds of the protocol; none where its rule counts scans and some are missing, or a fold trains on none."""
    if protocol.split is None or (not complete and rules.needs_all(protocol.split)):
        return []
    members = [rules.Member(case["name"], case["patient"], case.get("role")) for case in cases if "label" in case]
    folds = rules.split(protocol.split, members)
    return folds if all(fold["train"] for fold in folds) else []


def _ordered(cases: list[dict[str, Any]], folds: Sequence[rules.Fold]) -> list[dict[str, Any]]:
    """Cases in the order of the first fold, in which labels are taken, then the others; roles stand in the split."""
    order = [name for names in (folds[0] if folds else {}).values() for name in names]
    place = {name: index for index, name in enumerate(order)}
    listed = sorted(cases, key=lambda case: place.get(case["name"], len(place)))
    return [{key: value for key, value in case.items() if key != "role"} for case in listed]


def _about(published: Published, protocol: Protocol, found: Found) -> dict[str, Any]:
    return {
        "title": published.title,
        "protocol": protocol.name,
        "about": protocol.about,
        "home": published.home,
        "terms": published.terms,
        "citation": published.citation,
        "channel_names": list(protocol.channels or published.channels or found.channels),
        "labels": dict(_classes(published, protocol, found)),
    }
