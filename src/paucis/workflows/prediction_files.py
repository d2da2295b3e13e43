"""The files of one predicted case: masks and maps, all of them or none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Case, Geometry
from paucis.data.formats import map_suffix, mask_suffix, write_map, write_mask, write_segmentation
from paucis.data.plan import Plan
from paucis.data.segment_codes import Codes
from paucis.errors import PaucisError
from paucis.inference.predictor import CasePrediction
from paucis.inference.sampling import SAMPLES
from paucis.inference.windows import BLOCK

SEGMENTATION = ".dcm"


@dataclass
class Saved:
    """What the files of a case are called, and what table and manifest say of it.

    Attributes:
        name: of the case.
        mask: place of the mask below the folder.
        maps: places of the maps, by name.
        entry: of the manifest.
        rows: of the table, one for each class but the background.
        unit: column of the volume.
        sampled: columns of the samples' volumes, in order.
    """

    name: str
    mask: str
    maps: dict[str, str]
    entry: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    unit: str = ""
    sampled: dict[str, None] = field(default_factory=dict)


class CaseFiles:
    """Writes the files of cases to a folder: the mask last, and no file of a case that could not be finished.

    Args:
        out: the folder.
        plan: classes and raw mask values.
        codes: of the classes, for masks as DICOM segmentations; None writes each scan's own format.
        partial: folder, below ``out``, of what is too large for memory.
    """

    def __init__(self, out: Path, plan: Plan, codes: Codes | None, partial: Path) -> None:
        self.out, self.plan, self.codes, self.partial = out, plan, codes, partial

    def allocate(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Memory for a map; the probabilities of all classes, and the masks of all samples, lie on disk."""
        if name not in ("probabilities", SAMPLES):
            return np.zeros(shape, dtype)
        array: NDArray[Any] = self.in_folder(
            lambda: np.lib.format.open_memmap(self.partial / f"{name}.npy", "w+", dtype, shape)
        )
        return array

    def save(self, case: Case, prediction: CasePrediction) -> Saved:
        """Writes the files of a case.

        Raises:
            PaucisError: the folder cannot be written.
        """
        saved: Saved = self.in_folder(lambda: self._write(case, prediction))
        return saved

    def in_folder(self, act: Callable[[], Any]) -> Any:
        """Runs what writes; a full or closed disk ends the prediction with one line."""
        try:
            return act()
        except OSError as error:
            raise PaucisError(f"{self.out}: cannot be written ({error}): free space or choose another --out") from error

    def _write(self, case: Case, prediction: CasePrediction) -> Saved:
        geometry = prediction.geometry
        suffix = mask_suffix(geometry) if self.codes is None else SEGMENTATION
        masks = {f"{case.name}{suffix}": prediction.mask}
        masks |= {f"members/{name}/{case.name}{suffix}": mask for name, mask in prediction.members.items()}
        if prediction.samples is not None:
            drawn = enumerate(prediction.samples, 1)
            masks |= {f"samples/{case.name}_{number}{suffix}": mask for number, mask in drawn}
        maps = self._named_maps(prediction)
        files = {name: f"maps/{case.name}_{name}{_suffix(name, geometry)}" for name in maps}
        try:
            for name, values in maps.items():
                _write_map(self.out / files[name], values, geometry)
            for place, mask in reversed(masks.items()):
                self._write_mask(self.out / place, mask, case, geometry)
        except BaseException:
            for place in (*files.values(), *masks):
                (self.out / place).unlink(missing_ok=True)
            raise
        return self._saved(case, prediction, files, next(iter(masks)))

    def _write_mask(self, path: Path, mask: NDArray[Any], case: Case, geometry: Geometry) -> None:
        if self.codes is None:
            write_mask(path, self._raw(mask), geometry)
        else:
            write_segmentation(path, mask, case.images[0], self.plan.classes, self.codes)

    def _named_maps(self, prediction: CasePrediction) -> dict[str, NDArray[Any]]:
        maps: dict[str, NDArray[Any]] = {}
        for name, values in prediction.maps.items():
            if values.ndim == 3:
                maps[name] = values
            elif name == "probabilities":
                maps |= {f"probability_{self.plan.values[index]}": part for index, part in enumerate(values)}
            else:
                maps |= {f"{name}_{index}": part for index, part in enumerate(values)}
        return maps

    def _raw(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Class indices as the dataset's own mask values."""
        values = np.array(self.plan.values)
        return np.asarray(values.astype(np.result_type(*map(np.min_scalar_type, self.plan.values)))[mask])

    def _saved(self, case: Case, prediction: CasePrediction, files: dict[str, str], mask: str) -> Saved:
        column = "volume_ml" if prediction.unit == "mL" else "volume_pixels"
        images = [str(image.resolve()) for image in case.images]
        entry = {"name": case.name, "mask": mask, "maps": files, "image": images, "status": "done"}
        saved = Saved(case.name, mask, files, entry, unit=column)
        for score in prediction.scores[1:]:
            figures = {column: score.volume, f"{column}_low": score.low, f"{column}_high": score.high}
            figures |= {"score": score.score, "mean_confidence": score.confidence, "mean_entropy": score.entropy}
            if prediction.spread:
                spread = prediction.spread[score.label]
                figures |= {f"sampled_{column}_{name}": value for name, value in spread._asdict().items()}
                saved.sampled |= {name: None for name in figures if name.startswith("sampled_")}
            shown = {name: "" if math.isnan(figure) else f"{figure:.6g}" for name, figure in figures.items()}
            saved.rows.append({"case": case.name, "class": self.plan.classes[score.label], **shown})
        return saved


def _suffix(name: str, geometry: Geometry) -> str:
    """Of a map's file: a block's map of a picture is a picture, to be looked at."""
    return mask_suffix(geometry) if name.startswith(BLOCK) else map_suffix(geometry)


def _write_map(path: Path, values: NDArray[Any], geometry: Geometry) -> None:
    if path.suffix == ".png":
        write_mask(path, np.rint(255 * values).astype(np.uint8), geometry)
    else:
        write_map(path, values, geometry)
