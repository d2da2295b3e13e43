"""Published datasets as a person, or a program, reads of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paucis.datasets import Published


def entry(dataset: Published) -> dict[str, Any]:
    """A dataset as JSON can hold it."""
    keys = ("name", "title", "area", "home", "terms", "citation", "size", "layout", "status", "expect")
    protocols = [{"name": protocol.name, "about": protocol.about} for protocol in dataset.protocols]
    classes, channels = dict(dataset.classes), list(dataset.channels)
    return {key: getattr(dataset, key) for key in keys} | {
        "classes": classes,
        "channels": channels,
        "protocols": protocols,
    }


def listed(datasets: Iterable[Published]) -> str:
    """Each dataset with its command."""
    lines = []
    for dataset in datasets:
        lines += [f"{dataset.name}: {dataset.title}", f"    terms: {dataset.terms}", f"    size: {dataset.size}"]
        lines += [f"    source: {dataset.layout} ({dataset.status})", f"    home: {dataset.home}"]
        for protocol in dataset.protocols:
            lines.append(f"    --protocol {protocol.name}: {protocol.about}")
        lines.append(f"    paucis prepare {dataset.name} SOURCE --out DATASET")
    return "\n".join(lines)


def prepared(done: Any) -> str:
    """What was written."""
    unlabeled = done.scans - done.labeled
    counts = [f"{done.labeled} labeled"] + ([f"{unlabeled} unlabeled"] if unlabeled else [])
    lines = [f"{done.root}: {done.dataset}, {' and '.join(counts)} scans of {done.patients} patients"]
    lines.append(f"protocol {done.protocol}: {done.about}")
    for fold, sizes in enumerate(done.split):
        number = f"fold {fold}: " if len(done.split) > 1 else "split: "
        lines.append(number + ", ".join(f"{size} {role}" for role, size in sizes.items() if size))
    if done.dropped:
        lines.append(f"{len(done.dropped)} scans are left out by the protocol")
    if done.left_out:
        lines.append(f"left out or missing, {len(done.left_out)} in all (--json lists them):")
        lines += [f"  {problem.file}: {problem.message}" for problem in done.left_out[:5]]
        if done.splitless:
            lines.append("no split was written: that of the protocol needs every scan")
    return "\n".join(lines)
