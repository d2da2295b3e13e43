"""Readers: what of a folder is a scan, in the layout of one publisher. A reader opens no image.

Each takes a ``Source`` and the options that the table gives, and returns ``Found``.
"""

from __future__ import annotations

from collections.abc import Callable

from paucis.datasets.readers.brats import brats
from paucis.datasets.readers.cardiac import acdc, acdc_h5, atrium, atrium_h5
from paucis.datasets.readers.chest import chestxray8, jsrt, montgomery, shenzhen, siim
from paucis.datasets.readers.found import Found
from paucis.datasets.readers.fundus import chase, drishti, drive, hrf, idrid, kaggle_dr, references, stare
from paucis.datasets.readers.msd import msd
from paucis.datasets.readers.pancreas import pancreas, pancreas_h5
from paucis.datasets.readers.pathology import digestpath
from paucis.datasets.readers.skin import isic, ph2

READERS: dict[str, Callable[..., Found]] = {
    reader.__name__: reader
    for reader in (
        msd, acdc, acdc_h5, atrium, atrium_h5, pancreas, pancreas_h5, brats,
        isic, ph2, montgomery, shenzhen, chestxray8, jsrt, siim, digestpath,
        kaggle_dr, chase, hrf, drive, stare, drishti, idrid, references,
    )
}  # fmt: skip
