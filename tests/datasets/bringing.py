"""From a miniature to a dataset, and on to a trained run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from miniatures import MINIATURES

from paucis.cli import main
from paucis.workflows.check import Report, check_dataset
from paucis.workflows.prepare import prepare

NETWORK = ("network=unet", "network.features=4")
SMALL = (
    "train.steps=2", "train.batch_size=2", "train.workers=0", "data.workers=0",
    "train.log_every=1", "validation.cases=1",
)  # fmt: skip


def unpacked(name: str, folder: Path) -> Path:
    """The miniature of a dataset, written once."""
    source = folder / name
    if not source.exists():
        source.mkdir(parents=True)
        MINIATURES[name](source)
    return source


def converted(name: str, source: Path, out: Path, protocol: str | None = None) -> Report:
    """What check says of the prepared miniature: no problem."""
    done = prepare(name, source, out=out, protocol=protocol, partial=True)
    report = check_dataset(out, store=out.parent / "facts", workers=0)
    assert not report.problems, [str(problem) for problem in report.problems]
    assert (report.cases, report.labeled, report.patients) == (done.scans, done.labeled, done.patients)
    assert tuple({role: size for role, size in fold.items() if size} for fold in report.split) == done.split
    return report


def trained(dataset: Path, run: Path, *options: str, network: bool = True, command: str = "train") -> None:
    """Two steps through the real command line; of a small U-Net, or with the network that the options name."""
    given = {option.partition("=")[0] for option in options}
    small = [option for option in (*(NETWORK if network else ()), *SMALL) if option.partition("=")[0] not in given]
    with pytest.raises(SystemExit) as left:
        main([command, str(dataset), "--out", str(run), *small, *options])
    assert left.value.code == 0
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def read(dataset: Path, name: str) -> tuple[Any, Any]:
    """Image and label of a case, as SimpleITK reads them."""
    cases = {case["name"]: case for case in json.loads((dataset / "manifest.json").read_text())["cases"]}
    files = (cases[name]["image"][0], cases[name]["label"])
    image, label = (sitk.ReadImage(str(dataset / file)) for file in files)
    return image, label
