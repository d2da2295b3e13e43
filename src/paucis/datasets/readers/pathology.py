"""Pathology: the tissue images of DigestPath 2019."""

from __future__ import annotations

import numpy as np

from paucis.datasets.readers.found import Found
from paucis.datasets.scan import Loaded, Scan, binary
from paucis.datasets.source import Source


def digestpath(source: Source) -> Found:
    """``tissue-train-pos-v1/ID.jpg`` with ``ID_mask.jpg``, and ``tissue-train-neg/ID.jpg``, whose masks are empty.

    Names begin with the patient's case (``18-09926A_...``).
    """
    masks = source.by_name(r"tissue-train-pos[^/]*/([^/]+)_mask\.jpe?g")
    scans = []
    for path, match in source.match(r"tissue-train-(pos|neg)[^/]*/([^/]+)\.jpe?g"):
        name = match[2]
        if name.endswith("_mask"):
            continue
        if match[1] == "neg":
            scans.append(Scan(name, (path,), patient=name.split("_")[0], load=_clear))
        elif name in masks:
            scans.append(Scan(name, (path,), (masks[name],), name.split("_")[0], load=binary))
        else:
            source.wrong(path, "its mask is missing", "unpack the archive again")
    return Found(scans)


def _clear(scan: Scan) -> Loaded:
    loaded = binary(scan)
    return loaded._replace(label=np.zeros(loaded.image.shape[1:], np.uint8))
