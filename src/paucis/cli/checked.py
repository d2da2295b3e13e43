"""What ``paucis check`` found, laid out for reading: what there is, what is wrong, what a training takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paucis.data.problems import Problem
    from paucis.workflows.check import Range, Report
    from paucis.workflows.forecast import Forecast

LISTED = 40  # DICOM series that are listed
SHOWN = 3  # problems of one kind that are told; the rest is counted
LAYOUTS = {
    "msd": "Medical Segmentation Decathlon",
    "nnunet": "nnU-Net raw data",
    "folders": "folders of images and masks",
    "manifest": "a manifest",
    "h5": "h5 files",
    "dicom": "DICOM series",
}


def checked(report: Report) -> str:
    """The report as text."""
    parts = [[f"{report.root}: {LAYOUTS.get(report.layout, report.layout)}"], _columns(list(_overview(report)), "ll")]
    if report.classes:
        parts.append(_classes(report))
    if report.series:
        parts.append(_series(report))
    for level, meaning in (("error", "training refuses this dataset"), ("warning", "training goes ahead")):
        found = [problem for problem in report.problems if problem.level == level]
        if found:
            plural = "s" if len(found) > 1 else ""
            parts.append([f"{len(found)} {level}{plural} ({meaning})", *_problems(found, str(report.root))])
    if not report.problems:
        parts.append(["no problems"])
    return "\n\n".join("\n".join(part) for part in parts)


def forecasted(found: Forecast) -> str:
    """What a training takes, as text."""
    crops = ((found.batch_size, "labeled"), (found.unlabeled_batch_size, "unlabeled"))
    batch = " and ".join(f"{count} {kind}" for count, kind in crops if count)
    memory = "more than" if found.memory is None else f"{_bytes(found.memory)} of"
    rows = [
        ("training", f"{found.method} with {found.network}: {batch} crops of {_by(found.patch)} a step"),
        ("memory", f"{memory} {_bytes(found.available)} that are free, {found.device}"),
        ("a step", f"{found.step_seconds:.3g} s" if found.step_seconds else "not measured: memory ran out"),
    ]
    if found.seconds is not None:
        looks = ""
        if found.validations and found.step_seconds:
            steps = found.steps * found.step_seconds
            looks = f" and {found.validations} validations, which are {_duration(found.seconds - steps)} of it"
        rows.append(("the run", f"{_duration(found.seconds)} for {found.steps} steps{looks}"))
    rows.append(("disk", f"at most {_bytes(found.cache)} of {_bytes(found.disk)} that are free, for prepared cases"))
    return "\n".join(_columns(rows, "ll"))


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _bytes(count: int | None) -> str:
    if count is None:
        return "unknown bytes"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(1, round(seconds))} s"


def _overview(report: Report) -> Iterator[tuple[str, str]]:
    unreadable = f", {report.unreadable} unreadable" if report.unreadable else ""
    yield "cases", f"{report.cases}: {report.labeled} labeled, {report.unlabeled} unlabeled{unreadable}"
    if report.patients != report.cases:
        yield "patients", str(report.patients)
    files = ", ".join(f"{count} {suffix}" for suffix, count in report.formats.items())
    yield "files", f"{files} ({'pictures' if report.dims == 2 else 'volumes'})" if files else "none could be read"
    yield "channels", ", ".join(report.channels)
    if report.sizes and report.dims == 2:
        yield "size", f"{_range(report.sizes, 1)} pixels (height x width)"
    elif report.sizes:
        yield "size", f"{_range(report.sizes)} voxels (Z x Y x X)"
        spacing = f"{_range(report.spacings)} mm (Z x Y x X)" if report.spacings else None
        yield "spacing", spacing or "none in the files: lengths are counted in voxels"
    for number, fold in enumerate(report.split):
        name = "split" if len(report.split) == 1 else f"fold {number}"
        yield name, ", ".join(f"{count} {role}" for role, count in fold.items())


def _range(found: Range, first: int = 0) -> str:
    """Smallest to largest and median of the axes from the first one on."""
    rows = (found.min, found.median, found.max)
    low, middle, high = (" x ".join(f"{value:.4g}" for value in row[first:]) for row in rows)
    return low if low == high else f"{low} to {high}, median {middle}"


def _classes(report: Report) -> list[str]:
    rows = [("class", "value", "in labels", "voxels", "share")]
    for found in (*report.classes, *report.ignored):
        share = f"{100 * found.share:.2f} %" if found in report.classes else "not counted"
        rows.append((found.name, str(found.value), f"{found.cases} of {report.labeled}", str(found.voxels), share))
    return _columns(rows, "lrrrr")


def _series(report: Report) -> list[str]:
    rows = [("series", "modality", "no.", "size (Z x Y x X)", "case", "description")]
    for found in report.series[:LISTED]:
        size = " x ".join(map(str, (found.slices, *found.size))) if min(found.size) else ""
        case = found.case or f"({found.reason})"
        rows.append((found.name, found.modality, found.number, size, case, found.description))
    more = len(report.series) - LISTED
    return [*_columns(rows, "llllll"), *([f"and {more} more (--json lists all)"] if more > 0 else [])]


def _columns(rows: Sequence[tuple[str, ...]], sides: str) -> list[str]:
    """Rows of text in columns, each to its left (``l``) or right side."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    places = [f"{{:{'<' if side == 'l' else '>'}{width}}}" for side, width in zip(sides, widths, strict=True)]
    return ["   ".join(places).format(*row).rstrip() for row in rows]


def _problems(problems: Sequence[Problem], root: str) -> Iterator[str]:
    """Problems of one remedy together, the first few told, with the files as they are called from ``root``."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.remedy, []).append(problem)
    for remedy, alike in kinds.items():
        for problem in alike[:SHOWN]:
            yield f"  {problem.file.removeprefix(root).lstrip('/') or root}: {problem.message}"
        if len(alike) > SHOWN:
            yield f"  and {len(alike) - SHOWN} more (--json lists all)"
        yield f"    -> {remedy}"
