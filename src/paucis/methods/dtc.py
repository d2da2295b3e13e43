"""Dual-task consistency: the segmentation agrees with the one that the predicted distance maps imply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.losses.consistency import squared_difference
from paucis.losses.precision import full, no_autocast
from paucis.losses.signed_distance import distance_loss
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, StepResult, register
from paucis.methods.parts.distance import DistanceHead, DistanceOptions
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import first, parts, risen, valid_unlabeled, valid_voxels
from paucis.networks.base import Features
from paucis.options import option


@dataclass(frozen=True)
class DTCOptions(DistanceOptions):
    """The agreement of the two tasks."""

    consistency: float = option(1.0, "largest weight of the dual-task consistency", minimum=0.0)
    consistency_on: Literal["all", "unlabeled"] = option("all", "images that the consistency counts")
    steepness: float = option(1500.0, "of the sigmoid that turns distances into probabilities", minimum=0.0)


@register("dtc")
class DTC(Method):
    """A network with a head for signed distance maps whose sigmoid is a segmentation too.

    ``L = L_sup + 0.3 * mean (s - s_label)^2 + w(t) * mean (sigmoid(-1500 s) - p)^2``, the last over labeled and
    unlabeled images, with gradient on both sides. The network's own segmentation is reported.

    Reference:
        X. Luo et al.: Semi-supervised medical image segmentation through dual-task consistency. AAAI 2021.

    Deviations:
        One map for every foreground class, compared with that class's softmax probability where the published network
        has one sigmoid: the same for two classes. The map of a class that a crop lacks is 1 everywhere; published: 0,
        which also means boundary (``absent=zero``). Voxels on padding are not counted.
    """

    Options = DTCOptions

    def __init__(self, build: Build, task: Task, options: DTCOptions) -> None:
        super().__init__(build, task, options)
        self.network = build()
        self.head = DistanceHead(self.network, task.classes)

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Losses of both tasks on labels, and their agreement."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        maps = self.head(features)
        supervised = supervised_loss(features.logits[:count], labeled, self.options)
        distance = distance_loss(maps[:count], labeled.labels, absent=self.options.absent)
        start, valid = 0, valid_voxels(batch)
        if self.options.consistency_on == "unlabeled":
            start, valid = count, valid_unlabeled(batch)
        implied = occupied(maps[start:], self.options.steepness)
        segmented = features.logits[start:].float().softmax(1)[:, 1:]
        consistency = squared_difference(implied, segmented, valid)
        factor = risen(self.options, clock)
        return StepResult(
            {
                "supervised": supervised,
                "distance": self.options.distance * distance,
                "consistency": factor * consistency,
            },
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), labeled.labels),
        )


def occupied(maps: Tensor, steepness: float = 1500.0) -> Tensor:
    """``sigmoid(-k s)``: probability that a voxel of signed distance s lies inside, in float32.

    Args:
        maps: (B, channels, *spatial) signed distances, negative inside.
        steepness: k.
    """
    with no_autocast(maps):
        return (-steepness * full(maps)).sigmoid()
