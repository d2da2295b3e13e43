"""The Medical Segmentation Decathlon: ``dataset.json`` beside ``imagesTr``, ``labelsTr`` and ``imagesTs``."""

from __future__ import annotations

from paucis.data.layouts.decathlon import read as read_msd
from paucis.data.layouts.description import DESCRIPTION
from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Scan
from paucis.datasets.source import Source
from paucis.errors import PaucisError


def msd(source: Source, prefix: str = "", pool: bool = False) -> Found:
    """Any task; the images of its ``test`` list, whose labels are kept back, only with ``pool``.

    Args:
        source: the folder of the task.
        prefix: that its scans are named by, such as ``la_``; any by default.
        pool: take the test images too, as unlabeled scans.

    Raises:
        PaucisError: another task.
    """
    root = next((path.parent for path, _ in source.match(rf"({DESCRIPTION})")), None)
    if root is None:
        return Found([])
    dataset = read_msd(root)
    other = next((case.name for case in dataset.cases if not case.name.startswith(prefix)), None)
    if other is not None:
        raise PaucisError(f"{root / DESCRIPTION} lists '{other}', not {prefix}001: name the folder of that task")
    scans = []
    for case in dataset.cases:
        files = [*case.images, *([case.label] if case.label else [])]
        missing = [file for file in files if not file.is_file()]
        for file in missing:
            source.wrong(file, f"{DESCRIPTION} lists it and it is not there", "unpack the archive again")
        if not missing and (case.label or pool):
            scans.append(Scan(case.name, case.images, (case.label,) if case.label else (), case.group))
    classes = dict(zip(dataset.classes, dataset.values, strict=True))
    return Found(scans, classes, dataset.channels)
