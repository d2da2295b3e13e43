"""BraTS 2019: four modalities and a label for each patient, under ``HGG`` and ``LGG``."""

from __future__ import annotations

from collections.abc import Sequence

from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Scan
from paucis.datasets.source import Source


def brats(source: Source, modalities: Sequence[str] = ("t1", "t1ce", "t2", "flair")) -> Found:
    """``BraTS19_X_1/BraTS19_X_1_flair.nii.gz`` and so on, with ``BraTS19_X_1_seg.nii.gz``."""
    parts = {kind: source.by_name(rf"(BraTS19_\w+?)_{kind}\.nii(?:\.gz)?") for kind in (*modalities, "seg")}
    scans = []
    for name in sorted(set().union(*parts.values())):
        missing = [kind for kind, files in parts.items() if name not in files]
        for kind in missing:
            source.wrong(f"{name}_{kind}.nii.gz", "it is missing", "unpack the archive again")
        if not missing:
            scans.append(Scan(name, tuple(parts[kind][name] for kind in modalities), (parts["seg"][name],), name))
    return Found(scans)
