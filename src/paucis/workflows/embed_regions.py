"""The regions that a pretraining with a clustering finds in images, for ``embed``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paucis.data.case import Case
from paucis.data.formats import read_image
from paucis.data.preparation import prepare
from paucis.engine.runs import Run
from paucis.errors import PaucisError
from paucis.evaluation.features.regions import Regions
from paucis.inference.embedding import embed_voxels
from paucis.inference.windows import check_channels
from paucis.losses.directions import unit
from paucis.losses.region_discrimination import region_prototypes

MOST = 2**18
"""Voxels of a scan that its regions are the means of; of a larger one so many are drawn."""


def clusters(run: Run) -> bool:
    """Whether a run has a clustering and no classes."""
    return run.method.pretrains and getattr(run.method, "clustering", None) is not None


def find_regions(
    run: Run, cases: Sequence[Case], rng: np.random.Generator, tell: Callable[[int, int], None]
) -> Regions:
    """The region of each cluster in each scan, on the planned grid (Eq. 9-10 of local discrimination).

    Args:
        run: with a clustering (``clusters``).
        cases: the scans.
        rng: draws voxels of large ones.
        tell: told before the first case and after each.

    Raises:
        PaucisError: a scan that cannot be read or has other channels; its name is said.
    """
    vectors, shares = [], []
    tell(0, len(cases))
    for number, case in enumerate(cases, 1):
        try:
            found = _of_case(run, case, rng)
        except PaucisError as error:
            raise PaucisError(f"{case.name}: {error}") from error
        vectors.append(found[0])
        shares.append(found[1])
        tell(number, len(cases))
    every, share = torch.stack(vectors), torch.stack(shares)  # (cases, C, D), (cases, C)
    there = every.norm(dim=2) > 0
    case_of, cluster_of = np.nonzero(there.numpy())
    names = tuple(cases[int(index)].name for index in case_of)
    return Regions(names, cluster_of, share[there].numpy(), every[there].numpy(), unit(every.mean(0)).numpy())


def _of_case(run: Run, case: Case, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Vectors (C, D) of a scan's regions, and their shares (C,) of its voxels."""
    volume = read_image(case.images)
    check_channels(volume.array, run.task)
    image, _ = prepare(volume, run.plan)
    shape, method = image.shape[1:], run.method
    flat = np.arange(np.prod(shape))
    if len(flat) > MOST:
        flat = np.sort(rng.choice(flat, MOST, replace=False))
    voxels: NDArray[Any] = np.stack(np.unravel_index(flat, shape), 1)

    def both(images: Tensor) -> Tensor:
        return torch.cat([method.embed(images).float(), method.cluster(images).float()], 1)  # type: ignore[operator]

    found = torch.from_numpy(
        embed_voxels(image, voxels, method, run.task, autocast=run.autocast, device=run.device, maps=both)
    ).T[None]
    dim = int(method.options.dim)
    regions, _ = region_prototypes(found[:, :dim], found[:, dim:])
    return regions[0], found[0, dim:].mean(1)
