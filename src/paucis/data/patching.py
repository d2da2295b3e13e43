"""How large a crop is, how often a network may halve it, how many make a batch, which axes may be mirrored."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from paucis.errors import PaucisError

LEVELS = 5
SMALLEST = 8
"""An axis of fewer voxels is not halved any more."""
FEW = 16
"""No axis is cropped below so many voxels to save memory."""
LARGEST_2D = 512

SIDES = (
    ("superior", "inferior", "upper", "lower", "cranial", "caudal"),
    ("anterior", "posterior", "ventral", "dorsal"),
    ("left", "right"),
)
"""Words in class names that tell the two ends of the (superior, posterior, left) axes apart."""


def plan_patch(
    shape: Sequence[int], spacing: Sequence[float], voxels: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Patch and strides for cases of a typical shape.

    The patch has the aspect of the shape and at most about ``voxels`` voxels, each axis a multiple of what the strides
    divide it by: whole axes are rounded up, cropped ones to the nearest.

    Args:
        shape: median planned shape, one entry per axis of the plan.
        spacing: mm per voxel, likewise.
        voxels: how many a patch may have.
    """
    wanted = _shrink([float(size) for size in shape], voxels)
    strides = plan_strides(wanted, spacing)
    patch = []
    for axis, size in enumerate(wanted):
        step = math.prod(level[axis] for level in strides)
        rounding = math.ceil if size >= shape[axis] else round
        patch.append(max(1, int(rounding(size / step))) * step)
    return tuple(patch), strides


def plan_strides(
    size: Sequence[float], spacing: Sequence[float], *, exact: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Down-sampling factor of each level of a network, the finest (all ones) first.

    An axis is halved while it has at least 8 voxels and is not already twice as coarse as the finest axis that is
    still halved: anisotropic voxels become isotropic first. There are at most five levels.

    Args:
        size: voxels of a patch.
        spacing: mm per voxel.
        exact: halve even numbers of voxels only (the patch is not going to be rounded).
    """
    size, spacing = list(size), list(spacing)
    levels = [(1,) * len(size)]
    while len(levels) < LEVELS:
        able = [a for a, n in enumerate(size) if n >= SMALLEST and not (exact and n % 2)]
        if not able:
            break
        finest = min(spacing[axis] for axis in able)
        stride = tuple(2 if axis in able and spacing[axis] < 2 * finest else 1 for axis in range(len(size)))
        levels.append(stride)
        size = [n / step for n, step in zip(size, stride, strict=True)]
        spacing = [mm * step for mm, step in zip(spacing, stride, strict=True)]
    return tuple(levels)


def asked_patch(patch: Sequence[int], spacing: Sequence[float]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """A patch that the user asked for, and its strides.

    Raises:
        PaucisError: another number of axes than the plan has, or a long axis that no network could halve.
    """
    if len(patch) != len(spacing):
        raise PaucisError(f"data.patch={_text(patch)} must have {len(spacing)} entries: the plan is {len(spacing)}D")
    for size in patch:
        if size >= FEW and size % 8:
            near = ",".join(str(max(8, round(n / 8) * 8)) if n >= FEW else str(n) for n in patch)
            raise PaucisError(f"data.patch={_text(patch)}: {size} is not a multiple of 8; try data.patch={near}")
    return tuple(patch), plan_strides(patch, spacing, exact=True)


def plan_batch(patch: Sequence[int], voxels: int) -> int:
    """Crops a step whose voxels come near the budget: 4 to 12 in 2D, 2 to 8 in 3D."""
    low, high = (4, 12) if len(patch) == 2 else (2, 8)
    return max(low, min(high, round(voxels / math.prod(patch))))


def plan_size(height: float, width: float) -> tuple[int, int]:
    """The common grid of pictures: their median size, at most 512 on the longer side, in multiples of 32."""
    scale = min(1.0, LARGEST_2D / max(height, width))
    y, x = (max(32, round(length * scale / 32) * 32) for length in (height, width))
    return y, x


def plan_flips(choice: str, classes: Sequence[str], axes: Sequence[int | None], *, upright: bool) -> tuple[int, ...]:
    """Axes along which a mirrored image is still a possible one.

    With ``auto``, an axis whose two ends the class names tell apart (left and right, anterior and posterior, upper
    and lower) is not mirrored; nor is the vertical of pictures with an up and a down, such as X-rays; nor, where
    several classes have no names, left and right, which may be what tells them apart.

    Args:
        choice: ``data.flips``.
        classes: class names.
        axes: what each axis of the patch runs along: 0 superior, 1 posterior, 2 left; None where nobody knows.
        upright: gray pictures, whose axis 0 is the vertical.
    """
    if choice == "none":
        return ()
    if choice == "all":
        return tuple(range(len(axes)))
    sided = _sided(classes)
    named = sided and not any(name.startswith("class_") for name in classes)
    return tuple(
        axis
        for axis, runs in enumerate(axes)
        if not (runs in sided or (runs is None and named) or (upright and axis == 0))
    )


def _sided(classes: Sequence[str]) -> set[int]:
    words = {word.lower() for name in classes for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    sided = {axis for axis, names in enumerate(SIDES) if any(word.startswith(names) for word in words)}
    unnamed = [name for name in classes[1:] if re.fullmatch(r"class_\d+", name)]
    return sided | ({2} if {"l", "r"} <= words or len(unnamed) > 1 else set())


def _shrink(size: list[float], voxels: int) -> list[float]:
    while math.prod(size) > voxels:
        free = [axis for axis, length in enumerate(size) if length > FEW]
        factor = (voxels / math.prod(size)) ** (1 / max(len(free), 1))
        if not free or factor > 0.999:
            break
        size = [max(FEW, length * factor) if axis in free else length for axis, length in enumerate(size)]
    return size


def _text(values: Sequence[int]) -> str:
    return ",".join(map(str, values))
