"""Options of shape-guided segmentation, and the names of its stages and answers."""

from __future__ import annotations

from dataclasses import dataclass

from paucis.errors import PaucisError
from paucis.methods.base import Method
from paucis.methods.ld import LDOptions
from paucis.options import option
from paucis.registry import nearest

NAME = "shape_guided"
SHAPES, REFINED = "shapes", "refined"
CLUSTERS, CLUSTERING = "clusters", "clustering"
CERTAIN_LABELS = "certain-labels"


@dataclass(frozen=True)
class ShapeGuidedOptions(LDOptions):
    """Options of shape-guided segmentation; defaults of the paper and its code."""

    clusters: int = option(8, "clusters of voxels; the first is the target", minimum=2)
    adversary: float = option(1.0, "weight of passing for a reference mask", minimum=0.0)
    agreement: float = option(
        0.0,
        "weight of the target's being the same in both views (mean square), which shapes that the network makes up are "
        "not; meant for method.rotation=0, where views lie voxel on voxel",
        minimum=0.0,
    )
    penalty: float = option(
        0.0,
        "weight of the discriminator's being flat around the masks (R1), without which short trainings soon end in an "
        "empty target; 0 as published, 1 is a good start",
        minimum=0.0,
    )
    discriminator_rate: float = option(5e-5, "learning rate of the discriminator (Adam)", minimum=0.0)
    discriminator_schedule: str = option(
        "halving", "course of that rate over the stage", choices=("halving", "poly", "constant")
    )
    slope: float = option(
        0.2, "of the discriminator's leaky ReLU below 0; 1 = linear layers, as in the published code", maximum=1.0
    )
    refinement: float = option(
        0.3, "share of the steps that retraining on pseudo-labels takes; 0 = none", minimum=0.0, maximum=0.9
    )
    views: int = option(30, "looks at an image that its pseudo-label is the mean of", minimum=1)
    weighting: tuple[str, ...] = option(
        ("certain",),
        "weight of a pseudo-label: certain (1 - u), uncertain (u, as printed in Eq. 23), uniform (1); of several a "
        "network each, the first is `refined`",
        choices=("certain", "uncertain", "uniform"),
    )


def chosen(method: Method, output: str) -> str:
    """``output``, once it is known to be an answer of the method.

    Raises:
        PaucisError: it is none.
    """
    if output not in method.outputs:
        known = ", ".join(method.outputs)
        raise PaucisError(f"output={output}: no answer of this run{nearest(output, list(method.outputs))} ({known})")
    return output
