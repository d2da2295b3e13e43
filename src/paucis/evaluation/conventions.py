"""What an empty mask is worth and in which unit lengths are told: the strict rule and the literature's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paucis.errors import PaucisError
from paucis.registry import nearest

State = Literal["found", "missed", "spurious", "absent"]
"""Of a class in a case: in both masks, in the reference only, in the prediction only, in neither."""

STATES: tuple[State, ...] = ("found", "missed", "spurious", "absent")


@dataclass(frozen=True)
class Convention:
    """How cases are counted.

    Attributes:
        name: as it is asked for.
        rule: the sentence that stands under every table.
        physical: lengths by the spacing, in mm; else in voxels whatever the spacing.
        penalty: a missed or spurious class costs the image's diagonal in every surface distance; else it counts 0.
        absent: a class in neither mask enters the means with 0; else it is left out.
    """

    name: str
    rule: str
    physical: bool
    penalty: bool
    absent: bool


STRICT = Convention(
    name="strict",
    rule=(
        "Empty masks, strict rule: a class in neither mask is left out of all figures and counted as absent; a missed "
        "class (reference only) or a spurious one (prediction only) scores 0 in Dice, Jaccard, precision, recall and "
        "surface Dice, and the diagonal of the image in every surface distance; its relative volume error is 1 when "
        "missed, and left out when spurious."
    ),
    physical=True,
    penalty=True,
    absent=False,
)

LITERATURE = Convention(
    name="literature",
    rule=(
        "Empty masks, rule of the published semi-supervised code: where prediction or reference is empty, Dice, "
        "Jaccard, precision, recall, surface Dice and every surface distance count 0, also where the class is in "
        "neither mask; lengths in voxels, spacing not used. A missed structure therefore lowers the mean distance."
    ),
    physical=False,
    penalty=False,
    absent=True,
)
"""The scripts of the semi-supervised literature give (Dice, Jaccard, HD95, ASD) = (0, 0, 0, 0) for an empty prediction
(LA test scripts of UA-MT, MC-Net, DTC, MCF; 2D validation of SSL4MIS). At an empty reference with a prediction they
stop with an error or, in 3D validation of SSL4MIS, give zeros: zeros here."""

CONVENTIONS = {convention.name: convention for convention in (STRICT, LITERATURE)}


def convention_of(name: str) -> Convention:
    """The convention called ``name``.

    Raises:
        PaucisError: there is none; the nearest name is suggested.
    """
    if name not in CONVENTIONS:
        known = list(CONVENTIONS)
        raise PaucisError(f"convention '{name}' must be one of {', '.join(known)}{nearest(name, known)}")
    return CONVENTIONS[name]


def state_of(predicted: int, reference: int) -> State:
    """Which masks hold the class, from its voxel counts."""
    if predicted and reference:
        return "found"
    if reference:
        return "missed"
    return "spurious" if predicted else "absent"
