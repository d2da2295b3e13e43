"""What is worth knowing of each scan before training: sizes, geometry, intensities, label counts; remembered."""

from __future__ import annotations

from dataclasses import dataclass

from paucis.data.case import Geometry


@dataclass(frozen=True)
class CaseFacts:
    """What one look at a case's files told.

    Attributes:
        name: the case.
        content: blake2b hex digest of its image files' bytes (of the ``image`` array for h5 files).
        label_content: the same of its label, or None when it has none.
        shape: voxels along (Z, Y, X).
        channels: number of channels.
        geometry: of its first image file.
        dtype: NumPy name of the type the images are stored in.
        intensity: per channel ``mean, std, min, max, p005, p500, p995`` over the finite voxels.
        foreground: the same over voxels whose raw label is above 0; None without a label or without such voxels.
        nonfinite: NaN and infinite voxels, over all channels.
        label_counts: voxels of each raw label value, or None without a label.
        label_shape: voxels of the label along (Z, Y, X), or None.
        label_geometry: of the label, or None.
    """

    name: str
    content: str
    label_content: str | None
    shape: tuple[int, int, int]
    channels: int
    geometry: Geometry
    dtype: str
    intensity: tuple[dict[str, float], ...]
    foreground: tuple[dict[str, float], ...] | None
    nonfinite: int
    label_counts: dict[int, int] | None
    label_shape: tuple[int, int, int] | None
    label_geometry: Geometry | None
