"""What a prediction says of each structure's quality and volume, against what they are."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from paucis.errors import PaucisError


@dataclass(frozen=True)
class Structure:
    """One class of one case as ``paucis predict`` describes it in its ``cases.csv``.

    Attributes:
        case: name of the case.
        name: of the class.
        unit: of volumes, ``ml`` or ``pixels``.
        figures: ``volume``, ``volume_low``, ``volume_high``, ``score``, ``mean_confidence``, ``mean_entropy``; NaN
            where the table has none.
    """

    case: str
    name: str
    unit: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Checked:
    """A structure beside its reference: Dice (NaN where both are empty) and true volume in the same unit."""

    structure: Structure
    dice: float
    volume: float

    @property
    def inside(self) -> bool | None:
        """Whether the true volume lies in the stated interval; None without an interval."""
        low, high = (self.structure.figures.get(f"volume_{end}", math.nan) for end in ("low", "high"))
        return None if math.isnan(low + high) else bool(low * (1 - 1e-5) <= self.volume <= high * (1 + 1e-5))


_PLAIN = ("score", "mean_confidence", "mean_entropy")


def read_structures(folder: Path) -> list[Structure]:
    """The lines of the ``cases.csv`` that ``predict`` left in a folder.

    Raises:
        PaucisError: there is none, it is another table, or it holds a figure that is none.
    """
    path = folder / "cases.csv"
    if not path.is_file():
        raise PaucisError(f"{path}: is missing: give a folder that `paucis predict` wrote")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PaucisError(f"{path} cannot be read ({error}): predict again") from error
    if not lines or not {"case", "class", "score"} <= set(lines[0]):
        raise PaucisError(f"{path} {'has no column score' if lines else 'holds no structures'}: predict again")
    try:
        return [_structure(line) for line in lines]
    except (TypeError, ValueError) as error:
        raise PaucisError(f"{path} holds a figure that is none ({error}): predict again") from error


def agreement(checked: Sequence[Checked]) -> dict[str, float | int | None]:
    """How far scores and intervals can be trusted: ``inside``, ``spearman``, ``risk`` and the areas below.

    ``inside`` is the share of structures whose volume lies in its interval; ``spearman`` the rank correlation of score
    and Dice; ``risk`` the mean of 1 - Dice; ``aurc`` its mean over all shares kept, best score first; ``aurc_least``
    that of a perfect order. Undefined figures are None.
    """
    inside = [one.inside for one in checked if one.inside is not None]
    both = [(one.structure.figures["score"], one.dice) for one in checked]
    known = np.array([pair for pair in both if not math.isnan(sum(pair))]).reshape(-1, 2)
    found: dict[str, float | int | None] = {
        "structures": len(checked),
        "inside": float(np.mean(inside)) if inside else None,
        "spearman": None,
        "risk": None,
        "aurc": None,
        "aurc_least": None,
    }
    if len(known):
        risk = 1 - known[:, 1]
        found |= {"risk": float(risk.mean()), "aurc": _area(risk[np.argsort(-known[:, 0], kind="stable")])}
        found["aurc_least"] = _area(np.sort(risk))
    if len(known) > 2 and np.ptp(known[:, 0]) and np.ptp(known[:, 1]):
        found["spearman"] = float(stats.spearmanr(known[:, 0], known[:, 1]).statistic)
    return found


def _area(risks: np.ndarray) -> float:  # type: ignore[type-arg]
    return float((np.cumsum(risks) / np.arange(1, len(risks) + 1)).mean())


def _structure(line: dict[str, str]) -> Structure:
    unit = "ml" if line.get("volume_ml") else "pixels"
    column = f"volume_{unit}"
    names = {"volume": column, "volume_low": f"{column}_low", "volume_high": f"{column}_high"}
    names |= {name: name for name in _PLAIN}
    figures = {name: float(line[key]) if line.get(key) else math.nan for name, key in names.items()}
    return Structure(line["case"], line["class"], unit, figures)
