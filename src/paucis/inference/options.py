"""Options of prediction (``predict.*``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paucis.errors import PaucisError
from paucis.options import option

MAPS = (
    "entropy",
    "confidence",
    "expected_entropy",
    "mutual_information",
    "own",
    "members",
    "probabilities",
    "blocks",
)


@dataclass(frozen=True)
class PredictOptions:
    """How a scan is cut into windows, seen in several views, and what is written beside its mask."""

    overlap: float = option(0.5, "share of a window that its neighbor covers too", minimum=0.0, maximum=0.95)
    stride: tuple[int, ...] | None = option(
        None, "voxels from window to window, one per axis of the patch; takes the place of overlap", minimum=1
    )
    weighting: str = option(
        "gaussian", "weight of a window's voxels where windows overlap", choices=("gaussian", "uniform")
    )
    flips: bool = option(False, "average over mirrored views, along the axes the plan allows")
    batch: int | None = option(None, "windows predicted at once; none means 16 in 2D and 2 in 3D", minimum=1)
    samples: int = option(
        0,
        "masks that could each be true, of a method that draws samples (aua), with maps and spread of volumes",
        minimum=0,
    )
    dropout: int = option(
        0, "passes with the network's dropout acting, averaged (Monte-Carlo dropout); 0 is one without", minimum=0
    )
    output: str | None = option(
        None,
        "which of a method's answers is the mask, where it has several (shape_guided: refined, clustering, clusters)",
    )
    field: str | None = option(
        None,
        "field of view, outside of which all is background: auto (any channel above 20 of 255), none, or a folder of "
        "masks named like the scans; as the run by default",
    )
    temperature: str = option(
        "1",
        "softness of the probabilities: a number, above 1 is less sure; saved: what `paucis calibrate` left in the run",
    )
    maps: tuple[str, ...] = option(
        ("entropy", "confidence", "expected_entropy", "mutual_information", "own"),
        "what to write beside the mask: entropy, confidence; expected_entropy and mutual_information, which add up to "
        "entropy (of several runs, views, dropout passes or samples); own (the method's further maps), members (a mask "
        "of each named answer of a method), probabilities (one map a class), blocks (the uncertainty map of every UAFS "
        "block)",
        choices=MAPS,
    )

    @property
    def softness(self) -> float:
        """The temperature as a number.

        Raises:
            PaucisError: it is none above 0.
        """
        try:
            value = float(self.temperature)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise PaucisError(f"predict.temperature={self.temperature}: must be a number above 0, or saved")
        return value

    @property
    def splits(self) -> bool:
        """Whether a map is wanted that tells agreement from disagreement."""
        return "expected_entropy" in self.maps or "mutual_information" in self.maps

    def strides(self, patch: tuple[int, int, int], ndim: int) -> tuple[int, int, int] | None:
        """The fixed stride along (Z, Y, X), or None when ``overlap`` holds.

        Raises:
            PaucisError: another number of entries than the patch has, or larger than the patch (voxels left out).
        """
        if self.stride is None:
            return None
        shown = ",".join(map(str, patch[3 - ndim :]))
        if len(self.stride) != ndim:
            raise PaucisError(f"predict.stride needs {ndim} numbers, one per axis of the patch {shown}")
        z, y, x = (1,) * (3 - ndim) + self.stride
        if z > patch[0] or y > patch[1] or x > patch[2]:
            raise PaucisError(f"predict.stride leaves voxels out: it must not exceed the patch {shown}")
        return z, y, x
