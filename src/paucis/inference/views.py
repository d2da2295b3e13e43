"""Test-time views: a window and its mirror images, their mean and their disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

import torch
from torch import Tensor

from paucis.inference.sliding import Maps, WindowPredict
from paucis.uncertainty.entropy import entropy

DISAGREEMENT = "view_information"
"""Name of the map that holds the mutual information between views."""


def flip_views(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of mirrored axes, the image as it is first: 2 ** len(axes) views."""
    return list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))


def with_flips(predict: WindowPredict, axes: Sequence[int], *, disagreement: bool = False) -> WindowPredict:
    """A prediction averaged over mirrored views of each window.

    Args:
        predict: windows (N, C, *spatial) to maps (N, k, *spatial); ``probabilities`` is among them.
        axes: spatial axes along which a mirrored image is still a possible one.
        disagreement: adds the map ``view_information`` (N, 1, *spatial): mutual information between views, the
            entropy of their mean minus the mean of their entropies, as a share of ln K. What ``predict`` has of it
            already, within a view, is added, which by the chain rule is that between all draws of all views.

    Returns:
        A function like ``predict``.
    """
    views = flip_views(axes)

    def averaged(windows: Tensor) -> Maps:
        sums: Maps = {}
        expected: Tensor | None = None
        for flipped in views:
            dims = [axis + 2 for axis in flipped]
            maps = {name: values.float().flip(dims) for name, values in predict(windows.flip(dims)).items()}
            for name, values in maps.items():
                sums[name] = sums[name] + values if name in sums else values
            if disagreement:
                spread = entropy(maps["probabilities"], normalized=True)
                expected = spread if expected is None else expected + spread
        means = {name: values / len(views) for name, values in sums.items()}
        if expected is not None:
            between = entropy(means["probabilities"], normalized=True) - expected / len(views)
            within = means.get(DISAGREEMENT, torch.zeros(()))
            means[DISAGREEMENT] = between.clamp(min=0).unsqueeze(1) + within.to(between.device)
        return means

    return averaged
