"""What a run, or an ensemble of runs, says of a whole scan: foreground, mean uncertainty, mean features."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from paucis.data.case import Volume
from paucis.data.preparation import prepare
from paucis.errors import PaucisError
from paucis.inference.embedding import embed_voxels
from paucis.inference.options import PredictOptions
from paucis.inference.predictor import CasePrediction, Member, predict_case
from paucis.inference.windows import check_channels

SITES = 4096
"""Voxels of a scan, at most, whose features are averaged."""


def check_draws(members: Sequence[Member], options: PredictOptions) -> None:
    """Raises PaucisError where the prediction has a single draw, of which there is no mutual information."""
    flipped = options.flips and any(member.task.flips for member in members)
    if len(members) == 1 and not options.dropout and not options.samples and not flipped:
        raise PaucisError(
            "mutual information needs several draws: add runs of an ensemble (--also RUN), predict.dropout=20 (of a "
            "network with dropout), predict.samples=16 (aua) or predict.flips=true"
        )


def voxel_figures(
    members: Sequence[Member], volume: Volume, options: PredictOptions, maps: Collection[str] = ()
) -> dict[str, float]:
    """``foreground``, and the means of ``maps`` over all voxels of a scan; as ``foreground_of`` and ``predict_case``.

    Args:
        members: runs; several are an ensemble.
        volume: the scan.
        options: how it is predicted; its maps are not asked for.
        maps: of ``entropy`` and ``mutual_information``.
    """
    prediction = predict_case(members, volume, replace(options, maps=tuple(maps)))
    means = {name: float(prediction.maps[name].mean(dtype=np.float64)) for name in maps}
    return {"foreground": foreground_of(prediction), **means}


def foreground_of(prediction: CasePrediction) -> float:
    """What is predicted as any class but the background: mL, or the share of the image without lengths."""
    voxels = sum(score.voxels for score in prediction.scores[1:])
    if not prediction.geometry.physical:
        return voxels / prediction.mask.size
    return voxels * math.prod(prediction.geometry.spacing) / 1000


def mean_features(members: Sequence[Member], volume: Volume) -> NDArray[np.float32]:
    """Mean of ``Method.embed`` over a lattice of voxels of a scan's planned grid, member after member: (D,).

    Raises:
        PaucisError: channels do not fit.
    """
    parts = []
    for member in members:
        check_channels(volume.array, member.task)
        image, _ = prepare(volume, member.plan)
        voxels = lattice(image.shape[1:], SITES)
        features = embed_voxels(
            image, voxels, member.method, member.task, autocast=member.autocast, device=member.device
        )
        parts.append(features.mean(0, dtype=np.float64).astype(np.float32))
    return np.concatenate(parts)


def lattice(shape: Sequence[int], most: int) -> NDArray[np.int64]:
    """Every k-th voxel along each axis, k as small as leaves at most ``most`` of them: (N, 3)."""
    step = 1
    while math.prod(-(-size // step) for size in shape) > most:
        step += 1
    axes = [np.arange((size - 1) % step // 2, size, step) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
